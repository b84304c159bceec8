/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's requests, from submission to event:
 *
 *   read    BEGIN -> CHAIN_READ -> OVER        [copy-on-read: a copy run reads, or follows]
 *   write   BEGIN -> PREPARE -> LOCK -> MAP -> [SYNC] -> OVER
 *                                ^      |  \-> UNSHARE -> back to MAP
 *                                |      \---> PLACE -> FILL, STORE -> PUBLISH -> back to MAP
 *                                \-- once more, alone, before any entry changes
 *   flush   BEGIN -> SYNC -> OVER
 *   status  BEGIN -> DESCRIBE -> OVER
 *   longer  BEGIN -> PREPARE -> GROW -> OVER    [GROW -> LOCK -> MAP ... -> GROW: zeros]
 *   failed  GIVEN_UP -> OVER, where space was reserved
 *
 * docs/architecture.md, "The states of a guest request", lists what is held in each phase, what may
 * be trusted, and which function leaves it. An error in any phase leads to guest_fail().
 *
 * Reads take no lock. Space that a write lets go is used again only when all requests submitted
 * before have ended (I5), and the layers that a finished pull drops are closed only then; later
 * requests don't see them. A lock for reads was rejected: a guest's reads would wait for what
 * copy runs write.
 */
#include "engine/guest/guest.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/fault.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/guest/admit.h"
#include "engine/guest/chain_read.h"
#include "engine/guest/flush.h"
#include "engine/guest/grow.h"
#include "engine/guest/new_clusters.h"
#include "engine/guest/on_read.h"
#include "engine/guest/request.h"
#include "engine/guest/write.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_shared.h"
#include "io/base.h"
#include "io/io.h"

/* The operation that it was made for (inner.h). */
static void tell_op(struct guest *g)
{
	struct op *op = g->waits.op;

	op_set_error(op, g->op.error, g->op.error_file, g->op.error_off, g->op.error_was_read);
	if (!--op->n_pending)
		op_ready(op);
}

static void guest_over(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;

	/* A guest knows no networks: it is told of a disk that does not work. */
	if (fault_is_of_source(&g->op, -EHOSTUNREACH) || fault_is_of_source(&g->op, -ESTALE))
		g->op.error = -EIO;
	guest_count_end(g);
	if (g->kind == GUEST_GROW_DISK)
		guest_grow_end(g);
	guest_unlock(g);
	guest_free_reqs(g);
	chain_read_end(&g->chain_read);
	free(g->fresh.fill);
	if (g->iov != g->writes.asked)
		free(g->iov);
	g->iov = NULL;
	guest_list_remove(g);
	guest_give_room(g);
	if (disk->guests.dropping || disk->guests.draining || disk->nodes.n)
		engine_rerun(disk->engine); /* the job may wait for the oldest to end */
	if (g->waits.op) {
		tell_op(g);
		free(g);
	} else if (g->waits.call) {
		waiter_done(g->waits.call, g->op.error, g->status.n);
		g->op.engine->loop.has_news = true;
		free(g);
	} else {
		guest_queue_event(g->op.engine, g);
	}
}

static enum step guest_chain_read(struct guest *g)
{
	if (chain_read_step(&g->chain_read) == STEP_WAIT)
		return STEP_WAIT;
	if (g->op.error)
		return STEP_NEXT;
	on_read_over(g);
	return guest_go(g, GUEST_OVER);
}

static void end_failed_guest(struct guest *g)
{
	struct op *op = &g->op;

	guest_release_space(g);
	op->error = op->disk->poisoned && g->kind != GUEST_READ ? -EIO : g->failed;
	guest_over(g);
}

static void guest_fail(struct op *op)
{
	struct guest *g = guest_of(op);

	if (g->phase != GUEST_GIVEN_UP) { /* else there was no worker */
		guest_prepare_failed(g);
		g->failed = op->error;
		op->error = 0;
		g->phase = GUEST_GIVEN_UP;
		if (guest_give_up(g) == STEP_WAIT)
			return;
	}
	end_failed_guest(g);
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
		if (!g->status.n || !extent_merge(&g->status.extents[g->status.n - 1], &next)) {
			if (g->status.n == g->status.max)
				break;
			g->status.extents[g->status.n++] = next;
		}
		g->at += e.len;
	}
	return guest_go(g, GUEST_OVER);
}

static enum step begin(struct guest *g)
{
	if (g->kind == GUEST_READ)
		chain_read_begin(&g->chain_read, &g->op, g->iov, g->n_iov, g->guest_off, g->len);
	g->chain_read.may_join = g->kind == GUEST_READ;
	if (!g->len && g->kind != GUEST_FLUSH && g->kind != GUEST_GROW_DISK)
		return guest_go(g, g->flags & BPULL_IO_FUA ? GUEST_SYNC : GUEST_OVER);
	switch (g->kind) {
	case GUEST_READ: return guest_go(g, GUEST_CHAIN_READ);
	case GUEST_STATUS: return guest_go(g, GUEST_DESCRIBE);
	case GUEST_FLUSH: return guest_go(g, GUEST_SYNC);
	case GUEST_WRITE:
	case GUEST_ZEROES:
	case GUEST_DISCARD:
	case GUEST_GROW_DISK: return guest_go(g, GUEST_PREPARE);
	}
	abort();
}

static enum step end_given_up_guest(struct guest *g)
{
	end_failed_guest(g);
	return STEP_WAIT;
}

static enum step end_guest(struct guest *g)
{
	if (g->kind == GUEST_DISCARD && disk_is_raw(g->op.disk))
		disk_wrote(g->op.disk, DISK_DATA); /* the hole is there, not durable */
	guest_over(g);
	return STEP_WAIT;
}

/* The lock on the request's clusters that a phase begins with. */
enum phase_lock {
	LOCK_NONE,   /* or one that says nothing about the phase */
	LOCK_SHARED, /* at least: other writes in place may have it, too */
	LOCK_ALONE,  /* no other request or run that changes the disk has them */
};

static const struct phase {
	enum step (*run)(struct guest *g);
	enum phase_lock lock;
} phases[] = {
	[GUEST_BEGIN] = { begin },
	[GUEST_PREPARE] = { guest_prepare },
	[GUEST_LOCK] = { guest_take_lock },
	[GUEST_MAP] = { guest_map, LOCK_SHARED },
	[GUEST_UNSHARE] = { guest_unshare, LOCK_ALONE },
	[GUEST_PLACE] = { guest_place, LOCK_ALONE },
	[GUEST_FILL] = { guest_fill, LOCK_ALONE },
	[GUEST_STORE] = { guest_store, LOCK_ALONE },
	[GUEST_PUBLISH] = { guest_publish, LOCK_ALONE },
	[GUEST_CHAIN_READ] = { guest_chain_read },
	[GUEST_DESCRIBE] = { describe },
	[GUEST_SYNC] = { guest_sync },
	[GUEST_GROW] = { guest_grow },
	[GUEST_GIVEN_UP] = { end_given_up_guest },
	[GUEST_OVER] = { end_guest },
};

static enum step guest_step(struct op *op)
{
	struct guest *g = guest_of(op);
	const struct phase *phase = &phases[g->phase];

	static_assert(ARRAY_LEN(phases) == GUEST_OVER + 1, "each phase has a row");

	assert(phase->lock == LOCK_NONE || g->lock.held);
	assert(phase->lock != LOCK_ALONE || !g->lock.is_shared);
	return phase->run(g);
}

const struct op_kind guest_op_kind = { "guest", guest_step, guest_fail };

/* ---- space that was let go ---- */

static int discard_freed_work(struct io_req *req)
{
	const struct op *op = req->owner;
	struct layer *overlay = disk_overlay(op->disk);

	layer_discard_freed(overlay);
	return 0;
}

static void discarded(struct op *op)
{
	struct bpull_disk *disk = op->disk;

	layer_reuse_freed(disk_overlay(disk));
	disk->guests.discard.runs = disk->guests.draining = false;
	engine_rerun(disk->engine);
}

static enum step discard_step(struct op *op)
{
	discarded(op);
	return STEP_WAIT;
}

/* There was no worker for it: the space is used again without. */
static const struct op_kind discard_kind = { "discard", discard_step, discarded };

/* No request can be reading it any more (I5). */
static void give_back_freed(struct bpull_disk *disk)
{
	struct layer *overlay = disk_overlay(disk);
	struct op *op = &disk->guests.discard.op;

	if (disk->poisoned || !layer_take_freed(overlay)) {
		disk->guests.draining = false;
		return;
	}
	op_init(op, &discard_kind, disk->engine, disk);
	disk->guests.discard.runs = true;
	io_req_work(&disk->guests.discard.req, discard_freed_work);
	op_submit(op, &disk->guests.discard.req);
}

/* No request that may still read what the last commit let go is left. A node's image is read by the
 * requests of the disk that was opened, too. */
static bool is_drained(const struct bpull_disk *disk)
{
	const struct bpull_disk *of = disk->nodes.of;

	return disk->guests.oldest_seq >= disk->guests.drain_seq &&
	       (!of || (of->guests.oldest_seq >= disk->guests.drain_seq_above &&
			!of->guests.runs_on_read.n));
}

void guest_run(struct bpull_disk *disk, uint64_t now_ns)
{
	struct guests *all = &disk->guests;

	if (all->draining && !all->discard.runs && is_drained(disk))
		give_back_freed(disk);
	if (disk->flags & BPULL_DISK_GUEST_IO && commit_is_due(disk, now_ns))
		commit_begin(disk, COMMIT_SOFT);
}

uint64_t guest_deadline_ns(const struct bpull_disk *disk)
{
	if (!(disk->flags & BPULL_DISK_GUEST_IO) || commit_is_running(disk) || disk->commits.held ||
	    disk->poisoned)
		return UINT64_MAX;
	return commit_due_ns(disk);
}
