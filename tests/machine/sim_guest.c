/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See sim_guest.h. Each request has a buffer of its own: what the engine does
 * to one that is over is the address sanitizer's to find.
 */
#include "tests/machine/sim_guest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tests/machine/files/sim_private.h"

static bool is_change(const struct sim_guest_request *r)
{
	return r->kind == SIM_GUEST_WRITE || r->kind == SIM_GUEST_ZEROES ||
	       r->kind == SIM_GUEST_DISCARD;
}

static void begin_change(struct sim_guest *g, struct sim_guest_request *r)
{
	uint8_t value = r->kind == SIM_GUEST_WRITE ? r->value : 0;

	r->version =
		model_write_begin(&g->model, r->off, r->len, value, r->kind == SIM_GUEST_DISCARD);
	for (unsigned i = 0; i < SIM_GUEST_MAX; i++)
		if (g->requests[i].busy && g->requests[i].kind == SIM_GUEST_READ)
			model_read_sees(&g->requests[i].read, r->version, r->off, r->len);
}

/* Its alignment for direct I/O must not depend on the allocator. */
static uint8_t *new_buf(uint64_t len)
{
	void *buf;

	if (posix_memalign(&buf, 512, len))
		abort();
	return buf;
}

void sim_guest_submit(struct sim_guest *g, const struct sim_guest_request *how)
{
	struct sim_guest_request *r = g->requests;
	struct iovec iov[3];

	while (r->busy)
		r++;
	*r = *how;
	r->busy = true;
	r->buf = new_buf(r->len + 1);
	memset(r->buf, r->kind == SIM_GUEST_WRITE ? r->value : 0xa5, r->len);
	iov[0] = (struct iovec){ r->buf, r->cuts[0] };
	iov[1] = (struct iovec){ r->buf + r->cuts[0], r->cuts[1] - r->cuts[0] };
	iov[2] = (struct iovec){ r->buf + r->cuts[1], r->len - r->cuts[1] };
	g->n_in_flight++;
	if (is_change(r))
		begin_change(g, r);
	switch (r->kind) {
	case SIM_GUEST_READ:
		model_read_begin(&g->model, &r->read, r->off, r->len);
		bpull_read(g->disk, iov, 3, r->off, r);
		return;
	case SIM_GUEST_WRITE: bpull_write(g->disk, iov, 3, r->off, r->flags, r); return;
	case SIM_GUEST_ZEROES: bpull_write_zeroes(g->disk, r->off, r->len, r->flags, r); return;
	case SIM_GUEST_DISCARD: bpull_discard(g->disk, r->off, r->len, r); return;
	case SIM_GUEST_FLUSH:
		model_flush_begin(&g->model, &r->flush);
		bpull_flush(g->disk, r);
		return;
	case SIM_GUEST_STATUS:
		bpull_block_status(g->disk, r->off, r->len, r->extents, 4, r);
		return;
	case SIM_GUEST_N_KINDS: break;
	}
	abort();
}

/* ---- its end ---- */

__attribute__((format(printf, 2, 3))) static bool wrong(struct sim_guest *g, const char *format,
							...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(g->wrong, sizeof(g->wrong), format, args);
	va_end(args);
	return false;
}

static bool judge_status(struct sim_guest *g, const struct sim_guest_request *r, int count)
{
	uint64_t at = r->off;

	if (count < 1 || count > 4)
		return wrong(g, "%d extents", count);
	for (int i = 0; i < count; i++) {
		if (r->extents[i].start != at || !r->extents[i].length)
			return wrong(g, "extent %d begins at %" PRIu64, i, r->extents[i].start);
		at += r->extents[i].length;
	}
	if (at > r->off + r->len || (count < 4 && at != r->off + r->len))
		return wrong(g, "extents end at %" PRIu64, at);
	return true;
}

static bool judge_read(struct sim_guest *g, struct sim_guest_request *r)
{
	uint64_t bad = 0;

	if (!model_read_end(&g->model, &r->read, r->buf, &bad))
		return wrong(g,
			     "byte %" PRIu64 " reads %#x, which no write left (read of %" PRIu64
			     "+%" PRIu64 ")",
			     bad, r->buf[bad - r->off], r->off, r->len);
	if (r->out)
		memcpy(r->out, r->buf, r->len);
	return true;
}

static void end_failed(struct sim_guest *g, struct sim_guest_request *r)
{
	free(r->read.legal);
	free(r->flush.legal);
	if (is_change(r))
		model_write_failed(&g->model, r->version, r->off, r->len);
}

static bool end_well(struct sim_guest *g, struct sim_guest_request *r, int count)
{
	switch (r->kind) {
	case SIM_GUEST_READ: return judge_read(g, r);
	case SIM_GUEST_WRITE:
	case SIM_GUEST_ZEROES:
	case SIM_GUEST_DISCARD:
		model_write_end(&g->model, r->version, r->off, r->len);
		if (r->flags & BPULL_IO_FUA)
			model_write_durable(&g->model, r->version, r->off, r->len);
		return true;
	case SIM_GUEST_STATUS: return judge_status(g, r, count);
	case SIM_GUEST_FLUSH: model_flush_end(&g->model, &r->flush); return true;
	case SIM_GUEST_N_KINDS: break;
	}
	abort();
}

bool sim_guest_end(struct sim_guest *g, const struct bpull_event *event)
{
	struct sim_guest_request *r = event->user_data;
	bool ok = true;

	if (r < g->requests || r >= g->requests + SIM_GUEST_MAX || !r->busy)
		return wrong(g, "an event for no request");
	if (event->error)
		end_failed(g, r);
	else
		ok = end_well(g, r, event->count);
	free(r->buf);
	r->busy = false;
	g->n_in_flight--;
	return ok;
}

void sim_guest_abandon(struct sim_guest *g)
{
	for (struct sim_guest_request *r = g->requests; r < g->requests + SIM_GUEST_MAX; r++) {
		if (!r->busy)
			continue;
		free(r->read.legal);
		free(r->flush.legal);
		if (is_change(r))
			model_write_abandoned(&g->model, r->version, r->off, r->len);
		free(r->buf);
		r->busy = false;
	}
	g->n_in_flight = 0;
	g->disk = NULL;
}

/* ---- what is left ---- */

void sim_guest_judge_cut(const struct sim_guest *g, const struct sim_chain *chain, struct sim *left,
			 uint8_t *got, struct sim_verdict *v)
{
	struct sim_verdict snapshots;

	sim_pull_read(chain, left, got, v);
	if (!v->ok)
		return;
	uint64_t bad = model_illegal_after_cut(&g->model, got);
	if (bad < g->model.len) {
		v->ok = false;
		snprintf(v->text, sizeof(v->text), "byte %" PRIu64 " is %#x, which it may not be",
			 bad, got[bad]);
		return;
	}
	sim_pull_judge_snapshots(chain, left, &snapshots);
	if (!snapshots.ok) {
		v->ok = false;
		snprintf(v->text, sizeof(v->text), "%s", snapshots.text);
	}
}
