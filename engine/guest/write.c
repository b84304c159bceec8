/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where the guest's bytes go. A write maps under a lock on its clusters, which
 * it shares with other writes. Bytes that have space already are written in
 * place, all at once. For the rest the write takes the lock alone and goes
 * range by range to new space (new_clusters.c). Zeroes and discards become
 * entries where the format has them; other zeroes are written as bytes.
 *
 * Releasing the lock before the bytes are written was tried: if another request
 * meanwhile turns the cluster into zeros and fills it again, the old bytes may
 * show up in it later.
 *
 * Copying each cluster up and then writing in place was rejected: a whole
 * cluster would be written twice, and I1 would need a barrier between.
 */
#include "engine/guest/write.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/copy/down.h"
#include "engine/copy/walk/charge.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/guest/in_place.h"
#include "engine/guest/request.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/core/layer_header.h"
#include "formats/core/layer_shared.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_holes.h"
#include "io/io.h"

/* Extents written in place at once. */
#define MAX_IN_PLACE 16

/* A write of zeros: bytes in one request. */
#define MAX_ZEROES_LEN (1 * MiB)

/* ---- PREPARE ---- */

static int prepare_work(struct io_req *req)
{
	struct err err = { 0 };

	return layer_begin_guest_writes(guest_of(req->owner)->overlay, &err);
}

static bool has_entries(const struct layer *overlay)
{
	return overlay->has_zero_entries && layer_frees_space(overlay);
}

static int discard_data_work(struct io_req *req)
{
	struct guest *g = guest_of(req->owner);

	file_discard(g->overlay->data, g->guest_off, g->len);
	return 0;
}

/* Punches a hole into a raw disk: holes read zeros. An image without zero entries keeps its
 * bytes. */
static enum step discard_raw(struct guest *g)
{
	guest_go(g, GUEST_OVER);
	if (!disk_is_raw(g->op.disk))
		return STEP_NEXT;
	g->writes.reqs = calloc(1, sizeof(*g->writes.reqs));
	if (!g->writes.reqs)
		return guest_error(g, -ENOMEM);
	io_req_work(g->writes.reqs, discard_data_work);
	op_submit(&g->op, g->writes.reqs);
	return STEP_WAIT;
}

enum step guest_prepare(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	struct guests *all = &disk->guests;

	if (g->writes.reqs) { /* this request has run prepare_work() */
		guest_free_reqs(g);
		all->prepare = GUESTS_PREPARED;
		op_wake_all(&all->prepare_waiters, 0, NULL, 0, false);
	}
	if (g->kind == GUEST_DISCARD && !has_entries(g->overlay))
		return discard_raw(g);
	if (all->prepare == GUESTS_PREPARED || !layer_has_claims(g->overlay))
		return guest_go(g, g->kind == GUEST_GROW_DISK ? GUEST_GROW : GUEST_LOCK);
	if (all->prepare == GUESTS_PREPARING || disk->exclusive) {
		op_wait_in(&all->prepare_waiters, &g->op);
		return STEP_WAIT;
	}
	/* A commit in flight may write the header as it was: wait for it. */
	if (!commit_revive(disk))
		return guest_error(g, commit_stall_error(disk));
	if (commit_is_running(disk)) {
		commit_wait(disk, &g->op);
		return STEP_WAIT;
	}
	g->writes.reqs = calloc(1, sizeof(*g->writes.reqs));
	if (!g->writes.reqs)
		return guest_error(g, -ENOMEM);
	all->prepare = GUESTS_PREPARING;
	io_req_work(g->writes.reqs, prepare_work);
	g->writes.reqs->file = g->overlay->file;
	op_submit(&g->op, g->writes.reqs);
	return STEP_WAIT;
}

void guest_prepare_failed(struct guest *g)
{
	struct guests *all = &g->op.disk->guests;

	if (g->phase != GUEST_PREPARE || !g->writes.reqs)
		return;
	all->prepare = GUESTS_UNPREPARED; /* the next one tries again */
	op_wake_all(&all->prepare_waiters, 0, NULL, 0, false);
}

/* ---- LOCK ---- */

void guest_note_changes(struct bpull_disk *disk)
{
	for (const struct guest *g = disk->guests.first; g; g = g->list.next)
		if (guest_changes_disk(g))
			down_note_written(disk, g->guest_off, g->len);
}

enum step guest_take_lock(struct guest *g)
{
	g->phase = GUEST_MAP;
	g->alone |= g->kind != GUEST_WRITE;
	down_note_written(g->op.disk, g->at, g->guest_off + g->len - g->at);
	if (!g->locked)
		guest_lock(g, g->at, g->guest_off + g->len - g->at);
	if (g->lock.held)
		return STEP_NEXT;
	throttle_bypass(g->op.disk); /* a run that waits for tokens must not keep a guest waiting */
	return STEP_WAIT;
}

/* ---- MAP ---- */

static uint64_t request_end(const struct guest *g)
{
	return g->guest_off + g->len;
}

/* `end` rounded down to a multiple of unit_len; at the end of the disk, which may lie inside one,
 * rounded up. */
static uint64_t unit_end(const struct guest *g, uint64_t end, uint32_t unit_len)
{
	if (end == g->overlay->guest_len)
		return round_up(end, unit_len);
	return round_down(end, unit_len);
}

/* The extent reads as zeros already, and not because of what a backing file holds. */
static bool is_zero_already(const struct guest *g, const struct write_extent *e)
{
	return e->kind == WRITE_NEW &&
	       (e->reads_zero || (e->is_unallocated && !g->overlay->has_backing));
}

/* Leaves out a job's zeros where a raw disk has a hole, since they would only take space; a guest
 * may want that space, so its zeros are written. Cuts *e to the hole, or to what lies before one.
 * Only a file system that is known to tell the truth about holes is believed: a false hole would
 * keep its old bytes. */
static bool passes_hole(const struct guest *g, struct write_extent *e)
{
	struct file *file = g->overlay->data;
	struct file_status status;

	if (!g->waits.op || !disk_is_raw(g->op.disk) || !file->holes_known ||
	    file_status(file, g->at, &status) < 0 || !status.len)
		return false;
	e->len = MIN(e->len, status.len);
	return status.is_hole;
}

/* Zeroes and discards: passes over what reads zeros, chooses entries for whole units, and cuts *e
 * to what must be written as bytes. True: no bytes are to be written now; look at g->phase and
 * g->at again. */
static bool choose_zeroes(struct guest *g, struct write_extent *e)
{
	const struct layer *overlay = g->overlay;
	uint32_t unit_len = e->kind == WRITE_NEW ? e->unit_len : overlay->granule_len;
	uint64_t ext_end, first, last;

	if (passes_hole(g, e) || is_zero_already(g, e)) {
		g->at += e->len;
		return true;
	}
	ext_end = g->at + e->len;
	first = round_up(g->at, unit_len);
	last = unit_end(g, ext_end, unit_len);
	if (!overlay->has_zero_entries || (e->kind == WRITE_IN_PLACE && !has_entries(overlay)))
		first = last = ext_end;
	if (first == g->at && last > first) {
		last = MIN(last, first + PUBLISH_MAX_GRANULES * (uint64_t)overlay->granule_len);
		g->fresh = (struct guest_new){ .off = first, .end = last, .is_zero = true };
		g->phase = GUEST_PLACE;
		return true;
	}
	if (first > g->at)
		e->len = MIN(e->len, first - g->at);
	e->len = MIN(e->len, MAX_ZEROES_LEN);
	if (g->kind != GUEST_DISCARD)
		return false;
	g->at += e->len;
	return true;
}

/* Sets `fresh` to the part of a WRITE_NEW extent that gets entries next: whole units, at most as
 * long as a copy run. */
static void choose_fresh(struct guest *g, const struct write_extent *e)
{
	uint64_t max_len =
		MIN(RUN_MAX_LEN, PUBLISH_MAX_GRANULES * (uint64_t)g->overlay->granule_len);
	uint64_t off = round_down(g->at, e->unit_len);

	g->fresh = (struct guest_new){
		.off = off,
		.end = MIN(round_up(g->at + e->len, e->unit_len),
			   off + MAX(round_down(max_len, e->unit_len), (uint64_t)e->unit_len)),
	};
	g->phase = GUEST_PLACE;
}

/* Puts the extents from g->at on that are written in place into list, as far as cached tables
 * allow. 0: they end at an extent of another kind (*other, if none is before it), or at the
 * request's end. TABLE_NEED or -errno: *n of them were found before. */
static int map_in_place(struct guest *g, struct write_extent *list, unsigned *n,
			struct write_extent *other)
{
	struct layer *overlay = g->overlay;
	uint64_t at = g->at;

	other->len = 0;
	while (at < request_end(g) && *n < MAX_IN_PLACE) {
		struct write_extent e = { 0 };
		int rc = layer_map_write(overlay, at, request_end(g) - at, &e, &g->need);

		if (rc)
			return rc;
		if (e.kind != WRITE_IN_PLACE || g->kind != GUEST_WRITE) {
			*other = e;
			if (g->kind != GUEST_WRITE || !*n)
				return 0;
			other->len = 0; /* write those in list first */
			return 0;
		}
		list[(*n)++] = e;
		at += e.len;
	}
	return 0;
}

enum step guest_map(struct guest *g)
{
	struct write_extent list[MAX_IN_PLACE], other;
	unsigned n = 0;
	int rc;

	guest_wrote_in_place(g);
	if (g->at >= request_end(g)) {
		if (g->kind == GUEST_GROW_DISK) /* it keeps its lock */
			return guest_go(g, GUEST_GROW);
		guest_unlock(g);
		return guest_go(g, g->flags & BPULL_IO_FUA ? GUEST_SYNC : GUEST_OVER);
	}
	if (g->op.disk->poisoned) /* I7 */
		return guest_error(g, -EIO);
	verify_forget(g->op.disk, g->at, request_end(g) - g->at);
	rc = map_in_place(g, list, &n, &other);
	if (rc && !n)
		return guest_retry_later(g, rc);
	if (n)
		return guest_write_in_place(g, list, n);
	if (!g->alone) { /* entries will change: take the lock alone */
		guest_unlock(g);
		g->alone = true;
		return guest_go(g, GUEST_LOCK);
	}
	if (other.kind == WRITE_SHARED) {
		g->fresh.off = other.lock_off;
		g->fresh.end = other.lock_off + other.lock_len;
		g->unshare = (struct unshare){ 0 };
		return guest_go(g, GUEST_UNSHARE);
	}
	if (g->kind != GUEST_WRITE && choose_zeroes(g, &other))
		return STEP_NEXT;
	if (other.kind == WRITE_IN_PLACE)
		return guest_write_in_place(g, &other, 1);
	choose_fresh(g, &other);
	return STEP_NEXT;
}

/* ---- UNSHARE ---- */

static bool lock_covers(const struct guest *g, uint64_t off, uint64_t end)
{
	return g->lock.guest_off <= off && end <= g->lock.guest_off + g->lock.len;
}

/* Gives the guest tables of its own. A copy run relies on them from WRITE to PUBLISH, so the lock
 * must cover all that the table maps: a shorter one is given up for a longer one, at the end of the
 * queue, and then everything is mapped again. */
enum step guest_unshare(struct guest *g)
{
	struct layer *overlay = g->overlay;
	uint64_t off = g->fresh.off, end = g->fresh.end;
	int rc;

	if (!lock_covers(g, off, end)) {
		guest_unlock(g);
		off = MIN(off, round_down(g->at, overlay->cluster_len));
		end = MAX(end, round_up(request_end(g), overlay->cluster_len));
		guest_lock(g, off, end - off);
		return guest_go(g, GUEST_LOCK);
	}
	rc = layer_unshare(overlay, g->at, &g->unshare, &g->need);
	if (rc)
		return guest_retry_later(g, rc);
	disk_wrote(g->op.disk, DISK_IMAGE);
	commit_note_published(g->op.disk, 0);
	return guest_go(g, GUEST_MAP);
}
