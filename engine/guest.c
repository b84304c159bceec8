/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's requests, from submission to event:
 *
 *   read    BEGIN -> GATHER -> over [a copy run follows, copy-on-read]
 *   write   BEGIN -> PREPARE -> LOCK -> MAP -> ... -> [SYNC] -> over
 *   flush   BEGIN -> SYNC -> over
 *
 * Reads take no lock. What they may meet is kept for them: space that a write
 * lets go is used again only when all requests submitted before have ended
 * (I5), and layers that a finished pull drops are closed only then; later
 * requests don't see them any more. A lock for reads was rejected: a guest's
 * reads would wait for copy runs.
 */
#include "engine/guest.h"

#include <errno.h>

#include "engine/commit.h"
#include "engine/populate.h"
#include "io/base.h"

/* ---- the list of requests in flight ---- */

void guest_list_add(struct guest *g)
{
	struct guests *all = &g->op.disk->guests;

	g->seq = all->next_seq++;
	g->prev = all->last;
	*(all->last ? &all->last->next : &all->first) = g;
	all->last = g;
	g->op.engine->n_guests++;
}

static void list_remove(struct guest *g)
{
	struct guests *all = &g->op.disk->guests;

	*(g->prev ? &g->prev->next : &all->first) = g->next;
	*(g->next ? &g->next->prev : &all->last) = g->prev;
	all->oldest_seq = all->first ? all->first->seq : all->next_seq;
	g->prev = g->next = NULL;
	g->op.engine->n_guests--;
	g->op.engine->guest_seen = true;
}

void guest_queue_event(struct bpull_engine *engine, struct guest *g)
{
	bool is_first = !engine->done_first && !engine->events_first;

	if (engine->done_last)
		engine->done_last->next = g;
	else
		engine->done_first = g;
	engine->done_last = g;
	engine->has_news = true;
	if (is_first)
		engine_tell_events(engine, true);
}

int guest_take_events(struct bpull_engine *engine, struct bpull_event *out, int max)
{
	int n = 0;

	while (n < max && engine->done_first) {
		struct guest *g = engine->done_first;

		engine->done_first = g->next;
		out[n++] = (struct bpull_event){
			.type = BPULL_EVENT_IO,
			.disk = g->op.disk,
			.user_data = g->user_data,
			.error = g->op.error,
			.message = "",
			.count = g->n_extents,
		};
		free(g);
	}
	if (!engine->done_first)
		engine->done_last = NULL;
	return n;
}

void guest_forget_events(struct bpull_disk *disk)
{
	struct bpull_engine *engine = disk->engine;
	struct guest **link = &engine->done_first, *g;

	engine->done_last = NULL;
	while ((g = *link)) {
		if (g->op.disk == disk) {
			*link = g->next;
			free(g);
			continue;
		}
		engine->done_last = g;
		link = &g->next;
	}
}

/* ---- the end of one ---- */

static void over(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;

	guest_unlock(g);
	guest_free_reqs(g);
	gather_end(&g->gather);
	free(g->stretch.fill);
	free(g->iov);
	g->iov = NULL;
	list_remove(g);
	guest_give_room(g);
	if (disk->guests.dropping || disk->guests.draining)
		engine_again(disk->engine); /* somebody may wait for the oldest to end */
	if (g->waiter) {
		waiter_done(g->waiter, g->op.error, g->n_extents);
		g->op.engine->has_news = true;
		free(g);
	} else {
		guest_queue_event(g->op.engine, g);
	}
}

/* What the guest has read below the overlay is copied into it, as far as buffers are free. The run
 * reads it again: the guest may change its buffer at once, and what was just read is at hand. */
static void copy_on_read(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	uint64_t lo = g->gather.below_lo, hi = g->gather.below_hi;

	if (lo != hi && atomic_load(&disk->guests.copy_on_read) && !disk->poisoned &&
	    !disk->guests.dropping && disk_overlay(disk)->has_backing &&
	    disk->job.step != JOB_VERIFYING)
		populate_start_on_read(disk, lo, hi);
}

static enum step guest_gather(struct guest *g)
{
	if (gather_step(&g->gather) == STEP_WAIT)
		return STEP_WAIT;
	if (g->op.error)
		return STEP_NEXT;
	copy_on_read(g);
	return guest_go(g, GUEST_OVER);
}

enum step guest_error(struct guest *g, int error)
{
	op_set_error(&g->op, error, disk_overlay(g->op.disk)->file, g->at, g->kind == GUEST_READ);
	return STEP_NEXT;
}

enum step guest_hold(struct guest *g, int rc)
{
	struct bpull_disk *disk = g->op.disk;

	if (rc == TABLE_NEED)
		return op_wait_table(&g->op, &g->need);
	if (rc != -EAGAIN)
		return guest_error(g, rc);
	if (!commit_revive(disk))
		return guest_error(g, commit_stall_error(disk));
	if (!commit_await(disk, COMMIT_SOFT, &g->op))
		return guest_error(g, disk->poisoned ? -EIO : -ENOMEM);
	return STEP_WAIT;
}

static void guest_fail(struct op *op)
{
	struct guest *g = guest_of(op);

	guest_give_up(g);
	guest_prepare_failed(g);
	if (op->disk->poisoned && g->kind != GUEST_READ)
		op->error = -EIO;
	over(g);
}

/* ---- locks ---- */

static void granted(void *owner)
{
	op_ready(owner);
}

void guest_lock(struct guest *g, uint64_t off, uint64_t len)
{
	uint32_t cluster_len = disk_overlay(g->op.disk)->cluster_len;
	uint64_t end = round_up(off + len, cluster_len);

	g->lock = (struct range_lock){ .guest_off = round_down(off, cluster_len),
				       .is_shared = !g->alone,
				       .owner = &g->op };
	g->lock.len = end - g->lock.guest_off;
	g->locked = true;
	range_lock_take(&g->op.disk->locks, &g->lock);
}

void guest_unlock(struct guest *g)
{
	if (g->locked)
		range_lock_release(&g->op.disk->locks, &g->lock, granted);
	g->locked = false;
}

/* ---- block status ---- */

static enum step describe(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	uint64_t end = g->guest_off + g->len;

	while (g->at < end) {
		struct bpull_extent next;
		struct extent e;
		int rc = chain_map(disk->chain, 0, g->at, end - g->at, &e, &g->need);

		if (rc)
			return guest_hold(g, rc);
		next = extent_export(disk->chain, &e);
		if (!g->n_extents || !extent_merge(&g->extents[g->n_extents - 1], &next)) {
			if (g->n_extents == g->max_extents)
				break;
			g->extents[g->n_extents++] = next;
		}
		g->at += e.len;
	}
	return guest_go(g, GUEST_OVER);
}

/* ---- phases ---- */

static enum step begin(struct guest *g)
{
	if (g->kind == GUEST_READ)
		gather_begin(&g->gather, &g->op, g->iov, g->n_iov, g->guest_off, g->len);
	if (!g->len && g->kind != GUEST_FLUSH)
		return guest_go(g, g->flags & BPULL_IO_FUA ? GUEST_SYNC : GUEST_OVER);
	switch (g->kind) {
	case GUEST_READ: return guest_go(g, GUEST_GATHER);
	case GUEST_STATUS: return guest_go(g, GUEST_DESCRIBE);
	case GUEST_FLUSH: return guest_go(g, GUEST_SYNC);
	case GUEST_WRITE:
	case GUEST_ZEROES:
	case GUEST_DISCARD: return guest_go(g, GUEST_PREPARE);
	}
	abort();
}

static enum step guest_step(struct op *op)
{
	struct guest *g = guest_of(op);

	switch (g->phase) {
	case GUEST_BEGIN: return begin(g);
	case GUEST_PREPARE: return guest_prepare(g);
	case GUEST_LOCK: return guest_take_lock(g);
	case GUEST_MAP: return guest_map(g);
	case GUEST_UNSHARE: return guest_unshare(g);
	case GUEST_PLACE: return guest_place(g);
	case GUEST_FILL: return guest_fill(g);
	case GUEST_STORE: return guest_store(g);
	case GUEST_PUBLISH: return guest_publish(g);
	case GUEST_GATHER: return guest_gather(g);
	case GUEST_DESCRIBE: return describe(g);
	case GUEST_SYNC: return guest_sync(g);
	case GUEST_OVER: over(g); return STEP_WAIT;
	}
	abort();
}

const struct op_kind guest_op_kind = { "guest", guest_step, guest_fail };

/* ---- the disk's side ---- */

bool guest_is_idle(const struct bpull_disk *disk)
{
	return !disk->guests.first && !disk->guests.runs_on_read.n;
}

void guest_note_hidden(struct bpull_disk *disk)
{
	disk->guests.hide_seq = disk->guests.next_seq;
}

void guest_begin_drop(struct bpull_disk *disk)
{
	disk->guests.dropping = true;
}

bool guest_may_drop(const struct bpull_disk *disk)
{
	return disk->guests.oldest_seq >= disk->guests.hide_seq && !disk->guests.runs_on_read.n &&
	       !disk->n_walking;
}

void guest_end_drop(struct bpull_disk *disk)
{
	disk->guests.dropping = false;
}

void guest_begin_drain(struct bpull_disk *disk)
{
	disk->guests.draining = true;
	disk->guests.drain_seq = disk->guests.next_seq;
}

void guest_run(struct bpull_disk *disk, uint64_t now_ns)
{
	struct layer *overlay = disk_overlay(disk);

	if (disk->guests.draining && disk->guests.oldest_seq >= disk->guests.drain_seq) {
		disk->guests.draining = false;
		if (!disk->poisoned)
			overlay->ops->drained(overlay);
	}
	if (disk->flags & BPULL_DISK_GUEST_IO && commit_is_due(disk, now_ns))
		commit_begin(disk, COMMIT_SOFT);
}

uint64_t guest_deadline_ns(const struct bpull_disk *disk)
{
	if (!(disk->flags & BPULL_DISK_GUEST_IO) || commit_is_running(disk) || disk->poisoned)
		return UINT64_MAX;
	return commit_due_ns(disk);
}
