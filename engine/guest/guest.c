/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's requests, from submission to event:
 *
 *   read    BEGIN -> CHAIN_READ -> OVER        [a copy run follows: copy-on-read]
 *   write   BEGIN -> PREPARE -> LOCK -> MAP -> [SYNC] -> OVER
 *                                ^      |  \-> UNSHARE -> back to MAP
 *                                |      \---> PLACE -> FILL, STORE -> PUBLISH -> back to MAP
 *                                \-- once more, alone, before any entry changes
 *   flush   BEGIN -> SYNC -> OVER
 *   status  BEGIN -> DESCRIBE -> OVER
 *
 * docs/architecture.md, "The states of a guest request", lists what is held in each phase, what may
 * be trusted, and which function leaves it. An error in any phase leads to guest_fail().
 *
 * Reads take no lock. Space that a write lets go is used again only when all requests submitted
 * before have ended (I5), and the layers that a finished pull drops are closed only then; later
 * requests don't see them. A lock for reads was rejected: a guest's reads would wait for copy
 * runs.
 */
#include "engine/guest/guest.h"

#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/copy/run.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/guest/admit.h"
#include "engine/guest/chain_read.h"
#include "engine/guest/flush.h"
#include "engine/guest/new_clusters.h"
#include "engine/guest/request.h"
#include "engine/guest/write.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_shared.h"
#include "io/base.h"

static void over(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;

	guest_unlock(g);
	guest_free_reqs(g);
	chain_read_end(&g->gather);
	free(g->fresh.fill);
	free(g->iov);
	g->iov = NULL;
	guest_list_remove(g);
	guest_give_room(g);
	if (disk->guests.dropping || disk->guests.draining)
		engine_rerun(disk->engine); /* the job may wait for the oldest to end */
	if (g->waiter) {
		waiter_done(g->waiter, g->op.error, g->n_extents);
		g->op.engine->has_news = true;
		free(g);
	} else {
		guest_queue_event(g->op.engine, g);
	}
}

/* Copies what the guest has read below the overlay into it, as far as buffers are free. The run
 * reads it again, because the guest may change its buffer at once; the page cache still has it. */
static void copy_on_read(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	uint64_t lo = g->gather.below_lo, hi = g->gather.below_hi;

	if (lo != hi && atomic_load(&disk->guests.copy_on_read) && !disk->poisoned &&
	    !disk->guests.dropping && disk_overlay(disk)->has_backing &&
	    disk->job.step != JOB_VERIFYING)
		copy_run_start_on_read(disk, lo, hi);
}

static enum step guest_chain_read(struct guest *g)
{
	if (chain_read_step(&g->gather) == STEP_WAIT)
		return STEP_WAIT;
	if (g->op.error)
		return STEP_NEXT;
	copy_on_read(g);
	return guest_go(g, GUEST_OVER);
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

static enum step describe(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	uint64_t end = g->guest_off + g->len;

	while (g->at < end) {
		struct bpull_extent next;
		struct extent e;
		int rc = chain_map(disk->chain, 0, g->at, end - g->at, &e, &g->need);

		if (rc)
			return guest_retry_later(g, rc);
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

static enum step begin(struct guest *g)
{
	if (g->kind == GUEST_READ)
		chain_read_begin(&g->gather, &g->op, g->iov, g->n_iov, g->guest_off, g->len);
	if (!g->len && g->kind != GUEST_FLUSH)
		return guest_go(g, g->flags & BPULL_IO_FUA ? GUEST_SYNC : GUEST_OVER);
	switch (g->kind) {
	case GUEST_READ: return guest_go(g, GUEST_CHAIN_READ);
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
	case GUEST_CHAIN_READ: return guest_chain_read(g);
	case GUEST_DESCRIBE: return describe(g);
	case GUEST_SYNC: return guest_sync(g);
	case GUEST_OVER: over(g); return STEP_WAIT;
	}
	abort();
}

const struct op_kind guest_op_kind = { "guest", guest_step, guest_fail };

void guest_run(struct bpull_disk *disk, uint64_t now_ns)
{
	struct layer *overlay = disk_overlay(disk);

	if (disk->guests.draining && disk->guests.oldest_seq >= disk->guests.drain_seq) {
		disk->guests.draining = false;
		if (!disk->poisoned)
			layer_reuse_freed(overlay);
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
