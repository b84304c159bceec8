/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the phases of a guest request share: its place in the disk's list, its lock,
 * parts of its vector, its error, and the event at its end.
 */
#include "engine/guest/request.h"

#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/commit/retry.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "engine/core/op.h"
#include "engine/core/ranges/iov.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/core/rate/latency.h"
#include "engine/core/rate/stats.h"
#include "io/base.h"
#include "io/fifo.h"

/* ---- the list of requests in flight ---- */

void guest_list_add(struct guest *g)
{
	struct guests *all = &g->op.disk->guests;

	g->list.seq = all->next_seq++;
	g->list.prev = all->last;
	*(all->last ? &all->last->list.next : &all->first) = g;
	all->last = g;
	if (!g->waits.op)
		g->op.engine->guests.n++;
}

void guest_list_remove(struct guest *g)
{
	struct guests *all = &g->op.disk->guests;

	*(g->list.prev ? &g->list.prev->list.next : &all->first) = g->list.next;
	*(g->list.next ? &g->list.next->list.prev : &all->last) = g->list.prev;
	all->oldest_seq = all->first ? all->first->list.seq : all->next_seq;
	g->list.prev = g->list.next = NULL;
	if (g->waits.op)
		return;
	g->op.engine->guests.n--;
	g->op.engine->guests.n_over++;
}

void guest_queue_event(struct bpull_engine *engine, struct guest *g)
{
	bool is_first = !engine->guests.done.first && !engine->events.first;

	FIFO_APPEND(&engine->guests.done, g, list.next);
	engine->loop.has_news = true;
	if (is_first)
		engine_notify(engine, true);
}

int guest_take_events(struct bpull_engine *engine, struct bpull_event *out, int max)
{
	struct guest *g;
	int n = 0;

	while (n < max && (g = FIFO_TAKE(&engine->guests.done, list.next))) {
		out[n++] = (struct bpull_event){
			.type = BPULL_EVENT_IO,
			.disk = g->op.disk,
			.user_data = g->user_data,
			.error = g->op.error,
			.message = "",
			.count = g->status.n,
		};
		free(g);
	}
	return n;
}

void guest_forget_events(struct bpull_disk *disk)
{
	struct bpull_engine *engine = disk->engine;
	typeof(engine->guests.done) all = engine->guests.done;
	struct guest *g;

	engine->guests.done.first = engine->guests.done.last = NULL;
	while ((g = FIFO_TAKE(&all, list.next)))
		if (g->op.disk == disk)
			free(g);
		else
			FIFO_APPEND(&engine->guests.done, g, list.next);
}

/* ---- counting ---- */

static struct bpull_io_stats *stats_of(struct bpull_disk_stats *all, enum guest_kind kind)
{
	switch (kind) {
	case GUEST_READ: return &all->read;
	case GUEST_WRITE: return &all->write;
	case GUEST_ZEROES: return &all->write_zeroes;
	case GUEST_DISCARD: return &all->discard;
	case GUEST_FLUSH: return &all->flush;
	case GUEST_STATUS:
	case GUEST_GROW_DISK: break;
	}
	return NULL;
}

void guest_count_end(const struct guest *g)
{
	struct bpull_disk_stats *all = &g->op.disk->guests.stats;
	struct bpull_io_stats *stats = stats_of(all, g->kind);
	uint64_t took_ns;

	if (!stats)
		return;
	if (!g->began_ns) {
		stats->refused++;
		return;
	}
	took_ns = engine_now_ns() - g->began_ns;
	stats_note_end(stats, g->op.error, g->len, took_ns);
	if (g->op.disk->guests.recent.mark_ns && (g->kind == GUEST_READ || g->kind == GUEST_WRITE))
		latency_note(&g->op.disk->guests.recent, took_ns);
	if (!g->op.error && (g->kind == GUEST_WRITE || g->kind == GUEST_ZEROES))
		all->write_end = MAX(all->write_end, g->guest_off + g->len);
}

unsigned guest_n_older(const struct bpull_disk *disk, uint64_t ns)
{
	unsigned n = 0;

	for (const struct guest *g = disk->guests.first; g; g = g->list.next)
		n += (g->kind == GUEST_READ || g->kind == GUEST_WRITE) && g->began_ns &&
		     g->began_ns < ns;
	return n;
}

/* ---- errors ---- */

enum step guest_error(struct guest *g, int error)
{
	op_set_error(&g->op, error, g->overlay->file, g->at, g->kind == GUEST_READ);
	return STEP_NEXT;
}

enum step guest_retry_later(struct guest *g, int rc)
{
	return op_retry_later(&g->op, rc,
			      &(struct retry){ .need = &g->need,
					       .begins_commit = true,
					       .off = g->at,
					       .is_read = g->kind == GUEST_READ });
}

/* ---- locks ---- */

void guest_lock(struct guest *g, uint64_t off, uint64_t len)
{
	uint32_t cluster_len = g->overlay->cluster_len;
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
		range_lock_release(&g->op.disk->locks, &g->lock, op_granted);
	g->locked = false;
}

#define ZEROES_LEN (64 * KiB)

static const uint8_t zeroes[ZEROES_LEN];

unsigned guest_n_slices(const struct guest *g, uint64_t len)
{
	return g->kind == GUEST_WRITE ? g->n_iov : div_round_up(len, ZEROES_LEN);
}

unsigned guest_iov_part(const struct guest *g, uint64_t off, uint64_t len, struct iovec *out)
{
	unsigned n = 0;

	if (g->kind == GUEST_WRITE)
		return iov_slice(g->iov, g->n_iov, off - g->guest_off, len, out);
	for (; len; len -= out[n++].iov_len)
		out[n] = (struct iovec){ (void *)zeroes, MIN(len, ZEROES_LEN) };
	return n;
}

void guest_free_reqs(struct guest *g)
{
	if (g->writes.reqs != &g->writes.one)
		free(g->writes.reqs);
	if (g->writes.iovs != g->writes.few)
		free(g->writes.iovs);
	g->writes.reqs = NULL;
	g->writes.iovs = NULL;
	g->writes.n = 0;
}
