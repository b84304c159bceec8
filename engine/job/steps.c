/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job does in each of its steps, and when it moves on to the next. job.c calls the step's
 * function after every round of the engine, until it has set another step.
 */
#include "engine/job/steps.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/mixed.h"
#include "engine/commit/state.h"
#include "engine/copy/cursor.h"
#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/left_out.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/core/aside.h"
#include "engine/core/clock.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/drop.h"
#include "engine/core/events.h"
#include "engine/core/fault.h"
#include "engine/core/loop.h"
#include "engine/job/chain/down.h"
#include "engine/job/chain/dropped.h"
#include "engine/job/chain/ends.h"
#include "engine/job/chain/node.h"
#include "engine/job/chain/settle.h"
#include "engine/job/kinds.h"
#include "engine/job/progress/info.h"
#include "engine/job/target.h"
#include "engine/job/verify.h"
#include "engine/job/verify_holes.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

/* From now on no thread asks anything of the job. A node has done its work. */
static void end_control(struct bpull_disk *disk)
{
	for (struct bpull_disk *d = disk; d; d = d->nodes.of) {
		pthread_mutex_lock(&d->control.mutex);
		d->control.running = false;
		d->nodes.working = NULL;
		pthread_mutex_unlock(&d->control.mutex);
	}
	disk->nodes.is_over = disk->nodes.of;
}

void job_conclude(struct bpull_disk *disk, enum bpull_job_status status)
{
	struct job *job = &disk->job;

	assert(!aside_runs(disk)); /* the disk may be closed from now on */
	if (status == BPULL_JOB_COMPLETED)
		dropped_end(disk);
	verify_close(disk);
	copy_first_close(&disk->walk->first);
	proof_end(disk);
	down_end(disk);
	job_forget_target(disk);
	commit_release(disk);
	if (disk->commits.waiters.first)
		commit_retry(disk); /* requests have waited for the job to try again */
	file_advise_reads(disk_overlay(disk)->file, false);
	job->step = JOB_IDLE;
	job_publish_end(disk, status, engine_now_ns());
	end_control(disk);
	events_push(disk, status, status == BPULL_JOB_FAILED ? job->fault.error : 0,
		    status == BPULL_JOB_FAILED || job->fault.says_mixed ? job->fault.message : "");
}

/* Everything published before the step's first call is durable; else makes it so. A guest publishes
 * on and on: what comes later is not waited for. No commit begins over a base that has changed: a
 * kill behind it would leave a mixture without a mark. Unwinding marks the image itself. */
static bool ensure_committed(struct bpull_disk *disk)
{
	struct bpull_disk *written = job_written(disk);
	struct job *job = &disk->job;

	if (!job->commit_target) {
		if (commit_is_clean(written))
			return true;
		if (job->step != JOB_UNWINDING && mixed_check_files(disk))
			return false;
		job->commit_target = written->commits.n_begun + 1;
	}
	if (written->commits.last_hard >= job->commit_target)
		return true;
	commit_begin(written, COMMIT_HARD);
	return false;
}

void job_step_verify(struct bpull_disk *disk, enum job_step after)
{
	disk->verify->after = after;
	disk->job.commit_target = 0;
	disk->job.step = JOB_VERIFYING;
}

/* A commit of the image to the file right below it leaves all links as they are. */
static bool changes_link(const struct bpull_disk *disk)
{
	return !disk->job.kind->pivots || disk->base_name;
}

/* From here on what the overlay lacks reads as zeros, or from the new base, as it will without the
 * link: a base that changes while the job waits in READY does not show, neither to a guest nor
 * around what it writes. */
static void finish_proof(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (mixed_check_files(disk))
		return;
	job_note_back(disk, NULL); /* it has all that it needed, which may have been tables alone */
	if (verify_has_any(disk)) {
		job_step_verify(disk, JOB_DETACHING);
		return;
	}
	job_reach_end(disk);
	job->step = JOB_DETACHING;
	if (changes_link(disk))
		drop_hide(disk);
	if (job->kind->pivots) /* it has waited for finalize, if it was to */
		return;
	if (job->flags & BPULL_JOB_MANUAL_FINALIZE) {
		job->step = JOB_READY;
		events_push(disk, BPULL_JOB_READY, 0, job->fault.message);
	}
}

void job_step_copying(struct bpull_disk *disk, uint64_t now_ns)
{
	const struct copy_walk *walk = disk->walk;
	struct job *job = &disk->job;

	if ((verify_is_on(disk) && !verify_holes(disk)) || !job->kind->prepare_copy(disk))
		return;
	throttle_release(disk, now_ns);
	cursor_wake_rested(disk, now_ns);
	if (!job->paused)
		job->commit_target = 0;
	if (cursor_is_done(disk)) {
		job->commit_target = 0;
		if (job->kind->settles_zeros && proof_is_complete(disk))
			finish_proof(disk);
		else
			job->step = JOB_COMMITTING;
		return;
	}
	if (verify_is_full(disk) && !walk->runs.first) {
		job_step_verify(disk, JOB_COPYING);
		return;
	}
	cursor_kick(disk);
	if (commit_is_due(disk, now_ns) && !commit_is_running(disk)) {
		/* The earlier the job ends, the less it copies of another state. */
		if (!mixed_check_files(disk))
			commit_begin(disk, COMMIT_SOFT);
	} else if (job->paused && walk->runs.first == walk->throttle.first) {
		ensure_committed(disk);
	}
}

/* Something is owed still: a run gave it up, or a file system calls data what it called a hole
 * before, once its unwritten extents are in the page cache. One more walk looks at it. */
void job_step_walk_again(struct bpull_disk *disk)
{
	struct shown shown;

	if (left_out_fail_job(disk))
		return;
	if (!copy_walk_again(disk)) {
		job_fail(disk, -EIO,
			 "%s: the tables on disk do not hold what was copied; the backing link is "
			 "kept",
			 disk_show(disk, &shown));
		return;
	}
	disk->job.step = JOB_COPYING;
	cursor_start(disk);
}

void job_step_committing(struct bpull_disk *disk, uint64_t now_ns)
{
	if (!ensure_committed(disk) || !disk->job.kind->prepare_proof(disk))
		return;
	disk->job.step = JOB_PROVING;
	cursor_start(disk);
}

void job_step_proving(struct bpull_disk *disk, uint64_t now_ns)
{
	cursor_kick(disk);
	if (!cursor_is_done(disk))
		return;
	if (!proof_is_complete(disk))
		job_step_walk_again(disk);
	else if (disk->job.kind->end_proving(disk))
		finish_proof(disk);
}

/* Copies that follow reads are not begun in this step (guest/request.c): when those in flight have
 * ended and all is durable, nothing of the list is in the page cache only. */
void job_step_verifying(struct bpull_disk *disk, uint64_t now_ns)
{
	const struct verify *verify = disk->verify;

	if (disk->guests.runs_on_read.n)
		return;
	if (!verify->uncached && !ensure_committed(disk))
		return;
	if (!verify_run(disk))
		return;
	if (verify->after == JOB_DETACHING) {
		finish_proof(disk);
		return;
	}
	disk->job.step = verify->after;
	disk->job.commit_target = 0;
	engine_rerun(disk->engine);
}

/* The dropped files are their owners' as soon as the link is gone. So requests that may use them
 * end before the header is written; a guest's later requests don't wait for that. */
void job_step_detaching(struct bpull_disk *disk, uint64_t now_ns)
{
	if (!disk->link.changed && !disk->job.kind->settle(disk))
		return;
	if (!disk->link.changed && changes_link(disk)) {
		drop_begin(disk);
		if (drop_is_safe(disk) && disk->guests.prepare != GUESTS_PREPARING)
			commit_begin(disk, COMMIT_DETACH);
		return;
	}
	if (commit_is_detaching(disk))
		return;
	drop_end(disk);
	if (disk->job.kind->finish(disk))
		job_conclude(disk, BPULL_JOB_COMPLETED); /* I4 */
}

/* The link stays. */
void job_step_begin_unwinding(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	job->step = JOB_UNWINDING;
	aside_begin_step(disk);
	job->commit_target = 0;
	job_forget_stop(job);
	drop_show(disk);
	drop_end(disk);
	commit_keep_link(disk);
}

void job_step_unwinding(struct bpull_disk *disk, uint64_t now_ns)
{
	throttle_cancel(disk);
	/* First: a second signal may end the process before the job does. */
	if (!job_abandon_flatten(disk))
		return;
	if (!copy_walk_is_quiet(disk) || verify_is_busy(disk) || !down_rest(disk))
		return;
	if (!job_give_back_space(disk))
		return;
	disk_retry_once(disk, &disk->job.has_retried);
	/* Without memory or space for a commit: the next flush, or the next job, tries again. */
	if (!down_is_on(disk) && /* down_rest() has done it */
	    !disk->poisoned && !commit_is_stalled(disk) && !ensure_committed(disk) &&
	    commit_will_end(disk))
		return;
	if (!disk_settle_node(disk) || (commit_is_clean(disk) && !job_reclaim(disk)))
		return;
	if (commit_is_stalled(disk))
		job_say_uncommitted(disk, commit_stall_error(disk));
	if (!mixed_mark(disk) || !job_rest_node(disk))
		return;
	node_say_given_up(disk, disk);
	if (down_is_on(disk))
		node_say_given_up(disk, job_written(disk));
	job_conclude(disk, disk->job.fault.error ? BPULL_JOB_FAILED : BPULL_JOB_CANCELED);
}
