/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Starting copy runs: what a run is given before its first phase, which run.c has. From here on
 * the range is the run's and no longer the walk's.
 */
#include "engine/copy/start.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/commit/batch.h"
#include "engine/copy/phases/compress.h"
#include "engine/copy/run.h"
#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/slots.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/core/ranges/range_set.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"
#include "io/buf.h"

/* At most this many in a cluster: run_pieces.written has a bit for each. */
#define MAX_PIECES 64u

/* How many bytes of a granule are read, written and paid for at once. */
static uint32_t choose_piece_len(const struct copy_run *p)
{
	uint32_t granule_len = p->overlay->granule_len;
	uint64_t len = MIN(granule_len, (uint32_t)RUN_MAX_LEN), piece_len = len;

	if (p->kind == RUN_CLONE || copy_run_goes_down(p))
		return granule_len;
	if (p->kind == RUN_COPY && !p->compress.is_on)
		piece_len = cursor_piece_len(p->op.disk);
	while (len > piece_len && granule_len / len < MAX_PIECES)
		len /= 2;
	return len;
}

/* buf: NULL for kinds that need none. 0 or -ENOMEM. */
static int begin_run(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *buf,
		     enum run_kind kind)
{
	bool is_jobs = kind != RUN_ON_READ;
	struct layer *overlay = disk_overlay(disk);
	struct copy_walk *walk = disk->walk;
	struct copy_run *p = malloc(sizeof(*p));
	struct run_list *runs;

	if (!p)
		return -ENOMEM;
	/* Not the plan's parts: they take 100 KiB, and a run sets the few that it uses. */
	memset(p, 0, offsetof(struct copy_run, plan.parts));
	p->time.start_ns = engine_now_ns();
	p->give_up.n_gone_on = disk->job.n_gone_on;
	p->kind = kind;
	p->overlay = overlay;
	p->walk = walk;
	p->compress.is_on = is_jobs && walk->how.compress;
	op_init(&p->op, &copy_run_kind, disk->engine, disk);
	p->guest_off = guest_off;
	p->piece_len = choose_piece_len(p);
	p->len = copy_run_in_pieces(p) && buf ? overlay->granule_len
					      : round_up(len, overlay->granule_len);
	if (copy_run_goes_down(p))
		p->len = len;
	p->buf = buf;
	p->lock = (struct range_lock){ .guest_off = round_down(guest_off, overlay->cluster_len),
				       .owner = &p->op };
	p->lock.len = copy_run_lock_len(p);
	p->taken.end = guest_off + p->len;
	if (is_jobs)
		range_set_remove(&walk->todo, guest_off, p->taken.end);
	copy_run_begin_compress(p);
	runs = copy_run_runs_of(p);
	p->prev = runs->last;
	*(runs->last ? &runs->last->next : &runs->first) = p;
	runs->last = p;
	runs->n++;
	if (is_jobs) {
		walk->mapping = p;
		cursor_run_begins(disk, p->time.start_ns);
	}
	op_ready(&p->op);
	return 0;
}

int copy_run_start(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *buf)
{
	return begin_run(disk, guest_off, len, buf, RUN_COPY);
}

int copy_run_start_clone(struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	return begin_run(disk, guest_off, len, NULL, RUN_CLONE);
}

int copy_run_start_zero(struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	uint64_t max_len = PUBLISH_MAX_GRANULES * (uint64_t)disk_overlay(disk)->granule_len;

	return begin_run(disk, guest_off, MIN(len, max_len), NULL, RUN_ZERO);
}

/* ---- Copies that follow reads ---- */

/* The run has its clusters locked or queued for, or was just begun and will lock them next: no
 * other run need copy them. */
static bool has_clusters(const struct copy_run *p)
{
	return p->locked || (p->kind == RUN_ON_READ && p->phase == COPY_RUN_LOCK);
}

/* Cuts *range where a run has clusters of it: its end, or, if the run has those at its front, its
 * front. */
static void leave_out(const struct run_list *runs, const struct copy_run *but, struct range *range)
{
	for (const struct copy_run *p = runs->first; p; p = p->next) {
		uint64_t lo = p->lock.guest_off, hi = lo + p->lock.len;

		if (p == but || !has_clusters(p) || hi <= range->lo || lo >= range->hi)
			continue;
		if (lo <= range->lo) {
			range->lo = MIN(hi, range->hi);
			return;
		}
		range->hi = lo;
	}
}

/* The first part of [lo, hi) in which no run in flight other than `but` has clusters. */
static struct range first_free(const struct bpull_disk *disk, const struct copy_run *but,
			       uint64_t lo, uint64_t hi)
{
	struct range range;

	do {
		range = (struct range){ lo, hi };
		leave_out(&disk->guests.runs_on_read, but, &range);
		leave_out(&disk->walk->runs, but, &range);
	} while (range.lo != lo && (lo = range.lo) < hi);
	return range;
}

static uint64_t max_len_on_read(const struct bpull_disk *disk)
{
	uint32_t granule_len = disk_overlay(disk)->granule_len;

	return MAX(round_down(RUN_MAX_LEN, granule_len), (uint64_t)granule_len);
}

/* How many bytes of its buffer a run from guest_off to guest_end fills: the last granule is written
 * whole, though the disk may end in it. */
static size_t filled_len(const struct bpull_disk *disk, uint64_t guest_off, uint64_t guest_end)
{
	return round_up(guest_end, disk_overlay(disk)->granule_len) - guest_off;
}

/* Begins a run for the range. It shrinks the buffer, since most such runs are small, and others
 * need the rest. */
static bool begin_on_read(struct bpull_disk *disk, const struct range *range)
{
	struct buf_pool *bufs = disk->engine->bufs;
	void *buf = commit_is_overdue(disk) || !slots_may_take(disk) ? NULL : buf_get(bufs);

	if (!buf)
		return false;
	if (disk_overlay(disk)->granule_len <= RUN_MAX_LEN)
		buf = buf_shrink(bufs, buf, filled_len(disk, range->lo, range->hi));
	if (!begin_run(disk, range->lo, range->hi - range->lo, buf, RUN_ON_READ))
		return true;
	buf_put(bufs, buf);
	return false;
}

void copy_run_start_on_read(struct bpull_disk *disk, uint64_t guest_off, uint64_t end)
{
	uint64_t max_len = max_len_on_read(disk);

	guest_off = round_down(guest_off, disk_overlay(disk)->granule_len);
	while (guest_off < end) {
		struct range range = first_free(disk, NULL, guest_off, end);

		range.hi = MIN(range.hi, range.lo + max_len);
		if (range.lo < range.hi && !begin_on_read(disk, &range))
			return;
		guest_off = range.hi;
	}
}

/* No operation has locked any of the range's clusters. */
static bool is_unlocked(const struct bpull_disk *disk, const struct range *range)
{
	uint32_t cluster_len = disk_overlay(disk)->cluster_len;

	return range_lock_is_free(&disk->locks, round_down(range->lo, cluster_len),
				  round_up(range->hi, cluster_len));
}

bool copy_run_start_for_reader(struct bpull_disk *disk, uint64_t guest_off, uint64_t end,
			       uint64_t min_end)
{
	struct range range = first_free(disk, NULL, guest_off, end);

	range.hi = MIN(range.hi, range.lo + max_len_on_read(disk));
	return range.lo == guest_off && range.hi >= min_end && is_unlocked(disk, &range) &&
	       begin_on_read(disk, &range);
}

bool copy_run_extend(struct copy_run *p, uint64_t guest_off, uint64_t end)
{
	struct bpull_disk *disk = p->op.disk;
	struct range range = first_free(disk, p, guest_off, end);
	void *buf;

	range.hi = MIN(range.hi, p->guest_off + max_len_on_read(disk));
	if (p->guest_off + p->len != guest_off || range.lo != guest_off || range.lo >= range.hi ||
	    !is_unlocked(disk, &range))
		return false;
	buf = buf_get(disk->engine->bufs);
	if (!buf)
		return false;
	buf_put(disk->engine->bufs, p->buf);
	p->len = range.hi - p->guest_off;
	p->buf = buf_shrink(disk->engine->bufs, buf, filled_len(disk, p->guest_off, range.hi));
	p->taken.end = range.hi;
	p->lock.len = copy_run_lock_len(p);
	return true;
}
