/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See crash_io.h. Stages are told apart by what a commit looks like from
 * outside: a batch of its writes that follows another batch, not a barrier,
 * begins a new commit and is refcounts and new tables; all others are entries.
 */
#include "tests/whole/crash_io.h"

#include <errno.h>

#include "engine/core/op.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/wake.h"
#include "tests/machine/files/sim_private.h"

/* A copy of a request whose owner was told that it is over, or shown other bytes. */
struct crash_held {
	struct crash_held *next;
	struct io_req req;
	struct io_req *original; /* still to be reported; NULL: it was */
	uint8_t bytes[];
};

static struct crash_io *crash_of(const struct io *io)
{
	return (struct crash_io *)(uintptr_t)io;
}

static bool is_commit(const struct io_req *req)
{
	return !strcmp(((const struct op *)req->owner)->kind->name, "commit");
}

bool crash_io_is_table(const struct crash_io *c, uint64_t off)
{
	for (size_t i = 0; i < c->n_table_offs; i++)
		if (c->table_offs[i] == off)
			return true;
	return false;
}

uint64_t crash_io_unsettled_len(const struct crash_io *c)
{
	return c->data_len - c->data_marks[ARRAY_LEN(c->data_marks) - 1];
}

static void note_table(struct crash_io *c, const struct io_req *req)
{
	c->n_table_writes++;
	if (crash_io_is_table(c, req->off))
		return;
	if (c->n_table_offs == c->table_offs_cap) {
		c->table_offs_cap = MAX(2 * c->table_offs_cap, (size_t)64);
		c->table_offs = reallocarray(c->table_offs, c->table_offs_cap, sizeof(uint64_t));
		if (!c->table_offs)
			abort();
	}
	c->table_offs[c->n_table_offs++] = req->off;
}

/* ---- lies ---- */

static struct crash_held *hold(const struct io_req *req)
{
	struct crash_held *held = calloc(1, sizeof(*held) + req->len);
	uint64_t at = 0;

	if (!held)
		abort();
	for (unsigned i = 0; i < req->n_iov; at += req->iov[i++].iov_len)
		memcpy(held->bytes + at, req->iov[i].iov_base, req->iov[i].iov_len);
	io_req_write(&held->req, req->file, held->bytes, req->len, req->off);
	held->req.owner = held;
	return held;
}

static void report(struct crash_io *c, struct io_req *req, int64_t result)
{
	req->result = result;
	req_list_push(&c->done, req);
	wake_signal(c->sim->wake_fd);
	c->n_lies++;
}

static void postpone(struct crash_io *c, struct io_req *req)
{
	struct crash_held *held = hold(req), **end = &c->held;

	while (*end)
		end = &(*end)->next;
	*end = held;
	report(c, req, (int64_t)req->len);
}

/* What was postponed is done now. */
static void catch_up(struct crash_io *c)
{
	while (c->held) {
		struct crash_held *held = c->held;

		c->held = held->next;
		held->next = c->late;
		c->late = held;
		io_submit(c->inner, &held->req);
	}
}

/* The bytes that are in memory now of the table a write comes from. */
static const uint8_t *newer_bytes(const struct crash_io *c, const struct io_req *req)
{
	for (uint64_t back = 0; back < TABLE_MAX_LEN && back <= req->off; back += 8) {
		const struct table *table = table_find(c->cache, req->file, req->off - back);

		if (table && table->state == TABLE_READY && back + req->len <= table->len)
			return table->bytes + back;
	}
	return NULL;
}

static void write_newer(struct crash_io *c, struct io_req *req)
{
	const uint8_t *bytes = newer_bytes(c, req);
	struct crash_held *held = hold(req);

	if (bytes) {
		c->n_lies += memcmp(held->bytes, bytes, req->len) != 0;
		memcpy(held->bytes, bytes, req->len);
	}
	held->original = req;
	held->next = c->late;
	c->late = held;
	io_submit(c->inner, &held->req);
}

/* What ended before a commit began is in it; what ended since is for the next one, and the barrier
 * makes it durable by chance. */
static void note_commit(struct crash_io *c)
{
	uint64_t n_commits = c->n_commits ? *c->n_commits : 0;

	if (n_commits == c->commit)
		return;
	c->commit = n_commits;
	c->n_ended += c->n_ended_late;
	c->n_ended_late = 0;
}

static void submit_sync(struct crash_io *c, struct io_req *req)
{
	bool counts = !c->sync_of || !strcmp(req->file->name, c->sync_of);
	bool mine = counts && ++c->n_syncs == c->nth;
	struct sim_fault fault = { .op = SIM_SYNC, .nth = 1, .error = -EIO };

	c->last_was_sync = true;
	note_commit(c);
	if (mine)
		c->n_ended_at_lie = c->n_ended + (c->sync_of ? 0 : c->n_ended_late);
	c->n_ended = c->n_ended_late = 0;
	if (mine && c->lie == CRASH_DROP_SYNC) {
		report(c, req, 0);
		return;
	}
	if (mine && c->lie == CRASH_RETRY_SYNC) {
		sim_fail(c->sim, &fault);
		c->n_lies++;
	}
	io_submit(c->inner, req);
}

static void submit_table_write(struct crash_io *c, struct io_req *req)
{
	note_table(c, req);
	if (!c->in_batch) {
		c->batch_is_first = !c->last_was_sync;
		if (c->batch_is_first) {
			memmove(c->data_marks + 1, c->data_marks,
				sizeof(c->data_marks) - sizeof(c->data_marks[0]));
			c->data_marks[0] = c->data_len;
		}
		c->last_was_sync = false;
		c->in_batch = true;
	}
	if (c->lie == CRASH_LATE_REFCOUNT && c->batch_is_first)
		postpone(c, req);
	else if (c->lie == CRASH_NEWER_TABLES && !c->batch_is_first && req->len >= 512)
		write_newer(c, req);
	else
		io_submit(c->inner, req);
}

/* ---- the backend ---- */

static void crash_submit(struct io *io, struct io_req *req)
{
	struct crash_io *c = crash_of(io);

	c->changed |= req->kind == IO_WRITE;
	if (req->kind == IO_WRITE && !is_commit(req))
		c->data_len += req->len;
	if (req->kind == IO_SYNC)
		submit_sync(c, req);
	else if (req->kind == IO_WRITE && is_commit(req))
		submit_table_write(c, req);
	else if (req->kind == IO_WRITE && c->lie == CRASH_EARLY_DATA)
		postpone(c, req);
	else
		io_submit(c->inner, req);
}

static void crash_kick(struct io *io)
{
	io_kick(crash_of(io)->inner);
}

/* A copy's end: the original to be reported, or NULL. */
static struct io_req *end_late(struct crash_io *c, struct io_req *req)
{
	struct crash_held **link = &c->late, *held;
	struct io_req *original;

	while (*link && &(*link)->req != req)
		link = &(*link)->next;
	held = *link;
	if (!held)
		return req;
	*link = held->next;
	original = held->original;
	if (original)
		original->result = req->result;
	free(held);
	return original;
}

/* A write that the next barrier of interest makes durable, and on which later ones may rest. */
static bool is_covered(const struct crash_io *c, const struct io_req *req)
{
	if (req->kind != IO_WRITE)
		return false;
	if (c->sync_of)
		return !strcmp(req->file->name, c->sync_of);
	return c->batch_is_first || !crash_io_is_table(c, req->off);
}

static unsigned crash_reap(struct io *io, struct io_req **out, unsigned max)
{
	struct crash_io *c = crash_of(io);
	struct io_req *req;

	c->in_batch = false;
	if (c->changed && c->look)
		c->look(c->arg);
	c->changed = false;
	if (c->done.first)
		return req_list_take(&c->done, out, 1);
	if (!io_reap(c->inner, &req, 1))
		return 0;
	c->changed = req->kind == IO_WRITE || req->kind == IO_SYNC;
	if (is_covered(c, req)) {
		note_commit(c);
		c->n_ended_late++;
	}
	if (req->kind == IO_SYNC && req->result == -EIO && c->lie == CRASH_RETRY_SYNC) {
		io_submit(c->inner, req);
		io_kick(c->inner);
		return 0;
	}
	if (req->kind == IO_SYNC) {
		catch_up(c);
		io_kick(c->inner);
	}
	out[0] = end_late(c, req);
	return out[0] != NULL;
}

static int crash_fd(const struct io *io)
{
	return io_fd(crash_of(io)->inner);
}

static void crash_destroy(struct io *io)
{
	io_close(crash_of(io)->inner);
}

static const struct io_ops crash_io_ops = {
	.name = "crash",
	.submit = crash_submit,
	.kick = crash_kick,
	.reap = crash_reap,
	.fd = crash_fd,
	.destroy = crash_destroy,
};

void crash_io_init(struct crash_io *c, struct sim *sim)
{
	*c = (struct crash_io){ .io = { .ops = &crash_io_ops }, .sim = sim, .inner = sim_io(sim) };
}

void crash_io_settle(struct crash_io *c)
{
	catch_up(c);
	io_kick(c->inner);
	while (c->inner->n_in_flight) {
		struct io_req *req;

		if (!io_reap(c->inner, &req, 1))
			continue;
		req = end_late(c, req);
		if (req)
			req_list_push(&c->done, req);
	}
}

void crash_io_free(struct crash_io *c)
{
	free(c->table_offs);
	c->table_offs = NULL;
}
