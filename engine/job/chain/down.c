/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/job/chain/down.h"

#include <string.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/copy/cursor.h"
#include "engine/copy/down.h"
#include "engine/core/copied.h"
#include "engine/core/drop.h"
#include "engine/core/events.h"
#include "engine/core/fault.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_set.h"
#include "engine/core/rate/converge.h"
#include "engine/guest/hold.h"
#include "engine/guest/inner.h"
#include "engine/guest/write.h"
#include "engine/job/chain/ends.h"
#include "engine/job/chain/node.h"
#include "engine/job/chain/settle.h"
#include "engine/job/progress/info.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "io/err.h"
#include "io/file.h"

/* ---- while it copies ---- */

static enum step grown(struct op *op)
{
	op->disk->job.down.is_grown = true;
	op->disk->job.down.is_growing = false;
	guest_release(disk_opened(op->disk));
	return STEP_WAIT;
}

static void not_grown(struct op *op)
{
	op->disk->job.down.is_growing = false; /* a job that goes on tries again */
	op->kind = NULL;
	guest_release(disk_opened(op->disk));
	job_fail_op(op->disk, op);
}

static const struct op_kind grow_kind = { "grow below", grown, not_grown };

/* In memory the layer is longer before its new end reads zeros, and what is above it would show
 * what is below it: no guest reads meanwhile. */
static bool grow_below(struct bpull_disk *disk)
{
	const struct copy_down *down = &disk->walk->down;
	struct bpull_disk *opened = disk_opened(disk);
	struct job_down *state = &disk->job.down;

	state->is_grown |= down->into->guests.len >= down->end && !state->is_growing;
	if (state->is_grown)
		return true;
	/* A hold that is on is a snapshot's, whose end runs the job again. A job that stands still
	 * tries nothing again, and no guest waits for it. */
	if (!state->is_growing && (opened->guests.hold.is_on || disk->job.paused))
		return false;
	if (!state->is_growing)
		guest_hold(opened);
	state->is_growing = true;
	if (state->grow.kind || !guest_is_held_quiet(opened))
		return false;
	op_init(&state->grow, &grow_kind, disk->engine, disk);
	inner_grow(down->into, &state->grow, down->end);
	return false;
}

/* A job that ends gives up what has not begun. */
static bool give_up_growing(struct bpull_disk *disk)
{
	struct job_down *state = &disk->job.down;

	if (state->is_growing && !state->grow.kind) {
		state->is_growing = false;
		guest_release(disk_opened(disk));
	}
	return !state->is_growing;
}

void down_let_guest_go(struct bpull_disk *disk)
{
	drop_end(disk);
	if (disk->job.down.is_held || disk->job.down.is_slowed)
		guest_release(disk);
	disk->job.down.is_held = disk->job.down.is_quiet = disk->job.down.is_slowed = false;
}

/* A request that was noted may not be published yet: then the walk finds nothing there, and it is
 * noted for the next look. */
static void copy_written(struct bpull_disk *disk)
{
	converge_look(&disk->job.down.converge, range_set_len(&disk->walk->down.written));
	down_owe_written(disk);
	guest_note_changes(disk);
	disk->job.step = JOB_COPYING;
	disk->job.commit_target = 0;
	cursor_start(disk);
}

bool down_prepare_copy(struct bpull_disk *disk)
{
	struct job_down *state = &disk->job.down;

	if (!grow_below(disk))
		return false;
	if (!state->is_held)
		return true;
	if (!state->is_quiet && !guest_is_held_quiet(disk))
		return false;
	if (!state->is_quiet)
		copy_written(disk);
	state->is_quiet = true;
	return true;
}

/* The job is paused, or unwinds: a guest that is held does not wait for its end, and is held again
 * later. */
static void yield(struct bpull_disk *disk)
{
	enum job_step step = disk->job.step;

	if (step == JOB_COPYING || step == JOB_COMMITTING || step == JOB_PROVING ||
	    step == JOB_VERIFYING || step == JOB_UNWINDING)
		down_let_guest_go(disk);
	(void)give_up_growing(disk);
}

/* A commit of layer `to` failed, or found no space: the job fails, or stops. */
static void check_into(struct bpull_disk *disk)
{
	struct bpull_disk *into = disk->walk->down.into;
	struct op failed = { .engine = disk->engine, .disk = disk };
	struct shown shown;

	if (into->poisoned)
		job_fail(disk, into->poisoned,
			 "%s: a write to it failed: %s; what is above it stays as it was",
			 disk_show(into, &shown), strerror(-into->poisoned));
	if (into->poisoned || !commit_is_stalled(into) || job_is_stopped(disk))
		return;
	op_set_error(&failed, commit_stall_error(into), disk_overlay(into)->file, 0, false);
	job_fail_op(disk, &failed);
}

/* ---- a guest that writes meanwhile ---- */

static bool is_too_fast(const struct bpull_disk *disk)
{
	const struct copy_walk *walk = disk->walk;
	const struct converge *converge = &disk->job.down.converge;
	const struct verify *verify = disk->verify;
	bool is_read_back = disk->job.step == JOB_VERIFYING;
	uint64_t written_len;

	/* The sets may be long, and most jobs never come so far. */
	if ((disk->job.step != JOB_COPYING && !is_read_back) || disk->job.paused ||
	    !converge_may_slow(converge))
		return false;
	written_len = range_set_len(&walk->down.written);
	if (is_read_back)
		written_len =
			converge_count_written(converge, written_len, verify->next, verify->list.n);
	return converge_is_too_fast(converge, range_set_len(&walk->owed), written_len,
				    walk->throttle.limiter.rate);
}

static void slow_guest(struct bpull_disk *disk)
{
	struct job_down *state = &disk->job.down;
	bool is_slowed = !state->is_held && is_too_fast(disk);

	/* A snapshot holds the guest already: that slows it as well. */
	if (is_slowed == state->is_slowed || (is_slowed && disk->guests.hold.is_on))
		return;
	state->is_slowed = is_slowed;
	if (is_slowed)
		guest_hold_changes(disk);
	else if (!state->is_held)
		guest_release(disk);
}

void down_run(struct bpull_disk *disk)
{
	bool unwinds = disk->job.step == JOB_UNWINDING;

	if (!unwinds)
		check_into(disk);
	if (down_is_active(disk))
		slow_guest(disk);
	if (disk->job.paused || unwinds)
		yield(disk);
}

static void wait_for_finalize(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	job->step = JOB_READY;
	/* Programs poll for cur == end before they pivot. What the guest writes from now on is
	 * copied once more. */
	job_reach_end(disk);
	if (job->down.is_told)
		return;
	job->down.is_told = true;
	events_push(disk, BPULL_JOB_READY, 0, job->fault.message);
}

bool down_end_proving(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (!down_is_active(disk))
		return true;
	if (job->down.is_held && range_set_is_empty(&disk->walk->down.written))
		return true;
	/* From here on it must be faster than the guest writes. */
	disk->walk->how.guest_share = 100;
	if (job->down.is_held ||
	    !converge_is_near(&job->down.converge, range_set_len(&disk->walk->down.written),
			      disk->walk->throttle.limiter.rate)) {
		copy_written(disk);
		return false;
	}
	if (job->flags & BPULL_JOB_MANUAL_FINALIZE && !job->finalize) {
		wait_for_finalize(disk);
		return false;
	}
	/* While it is paused its guest is not held: else it were held, and let go, for ever. A hold
	 * that is on is a snapshot's, whose end runs the job again. */
	if (job->paused || disk->guests.hold.is_on)
		return false;
	drop_begin(disk); /* calls that walk the chain end first, and no new one begins */
	if (disk->n_walking)
		return false;
	guest_hold(disk);
	job->down.is_held = true;
	job->step = JOB_COPYING;
	return false;
}

void down_finalize(struct bpull_disk *disk)
{
	disk->job.down.converge = (struct converge){ 0 };
	copy_written(disk);
}

/* ---- the end ---- */

bool down_settle(struct bpull_disk *disk)
{
	struct bpull_disk *into = disk->walk->down.into;
	struct shown shown;
	int error;

	if (!disk_settle_on(into, &disk->job.down.n_settles.below))
		return false;
	error = node_write_error(into);
	if (!error)
		return true;
	job_fail(
		disk, error,
		"%s: what was copied into it could not be made durable: %s; what is above it stays "
		"as it was",
		disk_show(into, &shown), strerror(-error));
	return false;
}

bool down_rest(struct bpull_disk *disk)
{
	struct copy_down *down = &disk->walk->down;

	if (!down_is_on(disk))
		return true;
	down_let_guest_go(disk);
	if (!give_up_growing(disk))
		return false;
	if (down->into->guests.first)
		return false;
	/* Its runs have given back what they took: else nothing is written to it any more, before
	 * the disk is opened anew (node.c). */
	disk_retry_once(down->into, &disk->job.down.has_retried);
	if (!disk_settle_on(down->into, &disk->job.down.n_settles.below))
		return false;
	return job_rest_node(down->into);
}

void down_end(struct bpull_disk *disk)
{
	struct copy_down *down = &disk->walk->down;

	if (!down_is_on(disk))
		return;
	down->into->nodes.is_over = true;
	range_set_free(&down->written);
	*down = (struct copy_down){ 0 };
}
