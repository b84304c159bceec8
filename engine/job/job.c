/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A pull job from start to conclusion:
 *
 *   COPYING -> COMMITTING -> PROVING -> [VERIFYING] -> [READY] -> DETACHING -> COMPLETED
 *      \___________\____________\____________\___________\-> UNWINDING -> FAILED, CANCELED
 *
 * job_run() looks at the step after every round of the engine and moves on
 * when what the step waits for is there. It is idempotent, so no caller has to
 * know who wakes whom. Messages from every component to the next step were
 * rejected: a missed one is a job that hangs at 98 %.
 */
#include "engine/job/job.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/commit/commit.h"
#include "engine/commit/mixed.h"
#include "engine/commit/state.h"
#include "engine/copy/charge.h"
#include "engine/copy/cursor.h"
#include "engine/copy/left_out.h"
#include "engine/copy/proof.h"
#include "engine/copy/walk.h"
#include "engine/copy/window.h"
#include "engine/core/clock.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/fault.h"
#include "engine/core/loop.h"
#include "engine/guest/request.h"
#include "engine/job/flatten.h"
#include "engine/job/info.h"
#include "engine/job/target.h"
#include "engine/job/verify.h"
#include "engine/job/verify_holes.h"
#include "formats/chain/chain_base.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_shared.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

static void conclude(struct bpull_disk *disk, enum bpull_job_status status)
{
	struct job *job = &disk->job;

	if (status == BPULL_JOB_COMPLETED)
		job->counters.cur = job->counters.end;
	else
		flatten_abandon(disk);
	verify_close(disk);
	proof_end(disk);
	job_forget_target(disk);
	commit_release(disk);
	if (commit_is_stalled(disk) && disk->commit_waiters)
		commit_retry(disk); /* those who waited for the job to try again */
	file_expect(disk_overlay(disk)->file, false);
	job->step = JOB_IDLE;
	job->counters.status = status;
	job->counters.error = status == BPULL_JOB_FAILED ? job->error : 0;
	job_publish_info(disk, engine_now_ns());
	pthread_mutex_lock(&disk->control.mutex);
	disk->control.running = false;
	pthread_mutex_unlock(&disk->control.mutex);
	events_push(disk, status, job->counters.error,
		    status == BPULL_JOB_FAILED || job->says_mixed ? job->message : "");
}

/* ---- steps ---- */

static void obey(struct bpull_disk *disk, uint64_t now_ns)
{
	struct control *c = &disk->control;
	struct job *job = &disk->job;

	pthread_mutex_lock(&c->mutex);
	job->paused = c->want_pause;
	job->aborted |= c->want_abort;
	job->finalize |= c->want_finalize;
	if (c->new_speed)
		throttle_set_speed(disk, now_ns, c->bandwidth, c->burst);
	c->new_speed = false;
	pthread_mutex_unlock(&c->mutex);
	if (job->paused)
		throttle_bypass(disk);
}

/* Everything published before the step's first call is durable; else makes it so. A guest publishes
 * on and on: what comes later is not waited for. */
static bool ensure_committed(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (!job->commit_target) {
		if (commit_is_clean(disk))
			return true;
		job->commit_target = disk->n_commits_begun + 1;
	}
	if (disk->hard_commit >= job->commit_target)
		return true;
	commit_begin(disk, COMMIT_HARD);
	return false;
}

static void begin_verifying(struct bpull_disk *disk, enum job_step after)
{
	disk->job.verify->after = after;
	disk->job.commit_target = 0;
	disk->job.step = JOB_VERIFYING;
}

/* From here on what the overlay lacks reads as zeros, or from the new base, as it will without the
 * link: a base that changes while the job waits in READY does not show, neither to a guest nor
 * around what it writes. */
static void finish_proof(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (mixed_base_changed(disk))
		return;
	if (verify_has_any(disk)) {
		begin_verifying(disk, JOB_DETACHING);
		return;
	}
	chain_hide_pulled(disk->chain);
	guest_note_hidden(disk);
	job->counters.cur = job->counters.end;
	job->step = JOB_DETACHING;
	if (job->flags & BPULL_JOB_MANUAL_FINALIZE) {
		job->step = JOB_READY;
		events_push(disk, BPULL_JOB_READY, 0, job->message);
	}
}

/* Space that failed runs gave back below what others published: a format that can't note it takes
 * it out. Everything is committed and nothing in flight. False: it failed, as a commit can (I7). */
static bool reclaim_space(struct bpull_disk *disk)
{
	struct layer *overlay = disk_overlay(disk);
	struct err err = { 0 };
	uint64_t n_left = 0;

	/* With a guest, the disk's close does it. */
	if (disk->poisoned || disk->flags & BPULL_DISK_GUEST_IO)
		return true;
	disk->poisoned = layer_reclaim(overlay, &n_left, &err);
	if (disk->poisoned)
		job_fail(disk, disk->poisoned, "%s", err.message);
	else if (n_left)
		job_say_leaked(disk);
	return !disk->poisoned;
}

static void run_copying(struct bpull_disk *disk, uint64_t now_ns)
{
	const struct copy_walk *walk = disk->walk;
	struct job *job = &disk->job;

	if (verify_is_on(disk) && !verify_holes(disk))
		return;
	throttle_release(disk, now_ns);
	cursor_wake_rested(disk, now_ns);
	if (!job->paused)
		job->commit_target = 0;
	if (cursor_is_done(disk)) {
		job->step = JOB_COMMITTING;
		job->commit_target = 0;
		if (proof_is_complete(disk)) /* the rest was read, and was zeros */
			finish_proof(disk);
		return;
	}
	if (verify_is_full(disk) && !walk->runs.first) {
		begin_verifying(disk, JOB_COPYING);
		return;
	}
	cursor_kick(disk);
	if (commit_is_due(disk, now_ns) && !commit_is_running(disk)) {
		if (!mixed_base_changed(disk)) /* the less is copied of another state, the better */
			commit_begin(disk, COMMIT_SOFT);
	} else if (job->paused && walk->runs.first == walk->throttle.first) {
		ensure_committed(disk);
	}
}

/* Something is owed still: a run gave it up, or a file system calls data what it called a hole
 * before, when its unwritten extents have come into the page cache. One more walk looks at it. */
static void begin_round(struct bpull_disk *disk)
{
	struct shown shown;

	if (left_out_fail_job(disk))
		return;
	if (!copy_walk_again(disk)) {
		job_fail(disk, -EIO,
			 "%s: the tables on disk do not hold what was copied; the backing link is "
			 "kept",
			 file_show(disk_overlay(disk)->file, &shown));
		return;
	}
	disk->job.step = JOB_COPYING;
	cursor_start(disk);
}

static void run_committing(struct bpull_disk *disk)
{
	struct layer *overlay = disk_overlay(disk);
	struct err err = { 0 };

	if (!ensure_committed(disk) || !reclaim_space(disk))
		return;
	if (overlay->no_tables) {
		begin_round(disk);
		return;
	}
	table_cache_drop_clean(disk->engine->cache, overlay->file);
	if (layer_reread(overlay, commit_is_running(disk), &err)) {
		job_fail(disk, err.code, "%s", err.message);
		return;
	}
	disk->job.step = JOB_PROVING;
	/* Tables lie between the data, which is not wanted. */
	file_expect(overlay->file, true);
	cursor_start(disk);
}

static void run_proving(struct bpull_disk *disk)
{
	cursor_kick(disk);
	if (!cursor_is_done(disk))
		return;
	if (proof_is_complete(disk))
		finish_proof(disk);
	else
		begin_round(disk);
}

/* Copies that follow reads are not begun in this step (guest/request.c): when those in flight have
 * ended and all is durable, nothing of the list is in the page cache only. */
static void run_verifying(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (disk->guests.runs_on_read.n)
		return;
	if (!job->verify->uncached && !ensure_committed(disk))
		return;
	if (!verify_run(disk))
		return;
	if (job->verify->after == JOB_DETACHING) {
		finish_proof(disk);
		return;
	}
	job->step = JOB_COPYING;
	job->commit_target = 0;
	engine_rerun(disk->engine);
}

/* The files that are dropped are their owners' as soon as the link is gone: so requests that may
 * use them end before the header is written, and none of a guest's later ones waits for that. */
static void run_detaching(struct bpull_disk *disk)
{
	struct err err = { 0 };

	if (!disk->link.changed) {
		guest_begin_drop(disk);
		if (guest_may_drop(disk) && disk->guests.prepare != GUESTS_PREPARING)
			commit_begin(disk, COMMIT_DETACH);
		return;
	}
	if (commit_is_detaching(disk))
		return;
	guest_end_drop(disk);
	if (!mixed_clear(disk))
		return;
	if (flatten_is(disk) && flatten_finish(disk, &err)) {
		job_fail(disk, err.code, "%s", err.message);
		return;
	}
	conclude(disk, BPULL_JOB_COMPLETED); /* I4 */
}

/* The link stays. */
static void begin_unwinding(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	job->step = JOB_UNWINDING;
	/* At once: a second signal may end the process before the job does. */
	flatten_abandon(disk);
	job->commit_target = 0;
	job_forget_stop(job);
	chain_show_all(disk->chain);
	guest_end_drop(disk);
	commit_keep_link(disk);
}

static void run_unwinding(struct bpull_disk *disk)
{
	throttle_cancel(disk);
	if (!copy_walk_is_quiet(disk) || verify_is_busy(disk))
		return;
	copy_walk_give_back_space(disk);
	if (commit_is_stalled(disk) && !disk->job.has_retried) {
		disk->job.has_retried = true;
		commit_retry(disk);
	}
	/* No memory for it, or no space: the next flush, or the next job, tries again. */
	if (!disk->poisoned && !commit_is_stalled(disk) && !ensure_committed(disk) &&
	    commit_is_running(disk) && !commit_is_stalled(disk))
		return;
	if (commit_is_clean(disk))
		reclaim_space(disk);
	if (commit_is_stalled(disk))
		job_say_uncommitted(disk, commit_stall_error(disk));
	if (!mixed_mark(disk))
		return;
	conclude(disk, disk->job.error ? BPULL_JOB_FAILED : BPULL_JOB_CANCELED);
}

/* Abort loses to completion once the link is on its way out; so does what fails then, but for the
 * header's write itself. */
static bool must_unwind(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	if (job->step == JOB_UNWINDING || disk->link.leaving)
		return false;
	/* The link is gone, durably: what fails from then on is the guest's, not the job's. */
	if (disk->link.changed)
		return flatten_is(disk) && job->error;
	return job->error || disk->poisoned || job->aborted;
}

/* It was told to go on: tries again what failed. */
static void go_on(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (!job->stopped)
		return;
	events_prepare_stopped(disk);
	job_forget_stop(job);
	if (commit_is_stalled(disk))
		commit_retry(disk);
	/* Verifying, too: a list that is full may have begun it while the job was stopped. */
	if (job->step == JOB_COPYING || job->step == JOB_PROVING || job->step == JOB_VERIFYING)
		cursor_go_on(disk);
}

static void run_step(struct bpull_disk *disk, uint64_t now_ns)
{
	if (must_unwind(disk))
		begin_unwinding(disk);
	if (disk->job.step == JOB_DETACHING && disk->link.changed) {
		run_detaching(disk); /* whatever becomes of the guest's commits */
		return;
	}
	/* What was copied is made durable while it waits, if only that is possible. */
	if (job_is_stopped(disk) && (disk->job.step != JOB_COPYING || commit_is_stalled(disk)))
		return;
	if (!job_is_stopped(disk))
		go_on(disk);
	/* One of the guest's found no space while there was no job to fail. */
	if (commit_is_stalled(disk) && disk->job.step != JOB_UNWINDING)
		commit_retry(disk);
	switch (disk->job.step) {
	case JOB_IDLE: break;
	case JOB_COPYING: run_copying(disk, now_ns); break;
	case JOB_COMMITTING: run_committing(disk); break;
	case JOB_PROVING: run_proving(disk); break;
	case JOB_VERIFYING: run_verifying(disk); break;
	case JOB_READY:
		if (disk->job.finalize)
			disk->job.step = JOB_DETACHING;
		break;
	case JOB_DETACHING: run_detaching(disk); break;
	case JOB_UNWINDING: run_unwinding(disk); break;
	}
}

void job_run(struct bpull_disk *disk, uint64_t now_ns)
{
	enum job_step before;

	if (disk->job.step == JOB_IDLE)
		return;
	obey(disk, now_ns);
	do {
		before = disk->job.step;
		run_step(disk, now_ns);
	} while (disk->job.step != before && disk->job.step != JOB_IDLE);
	if (disk->job.step != JOB_IDLE)
		job_publish_info(disk, now_ns);
}

uint64_t job_deadline_ns(struct bpull_disk *disk, uint64_t now_ns)
{
	uint64_t at_ns = UINT64_MAX;

	if (disk->job.step != JOB_COPYING)
		return at_ns;
	at_ns = throttle_release(disk, now_ns);
	if (disk->walk->rest_ns)
		at_ns = MIN(at_ns, disk->walk->rest_ns);
	if (engine_has_ready(disk->engine))
		at_ns = now_ns;
	if (!commit_is_running(disk))
		at_ns = MIN(at_ns, commit_due_ns(disk));
	return at_ns;
}

/* There is nothing to pull. A cut may have come between the link's end and the mark's, which is to
 * go then. */
static void begin_idle(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);
	struct job *job = &disk->job;

	if (!overlay->is_mixed || overlay->has_backing || !(job->flags & BPULL_JOB_ACCEPT_MIXED)) {
		conclude(disk, BPULL_JOB_COMPLETED);
		return;
	}
	job->step = JOB_DETACHING;
	disk->link.changed = true;
	job_publish_info(disk, job->start_ns);
}

void job_begin(struct bpull_disk *disk, const struct bpull_job_options *o)
{
	struct layer *overlay = disk_overlay(disk);
	struct control *c = &disk->control;
	struct job *job = &disk->job;

	*job = (struct job){ .flags = o->flags,
			     .on_error = o->on_error,
			     .start_ns = engine_now_ns(),
			     .n_synced_before = disk->n_commits_synced,
			     .verify = job->verify };
	job->counters.type = BPULL_JOB_TYPE_PULL;
	job->counters.end = overlay->has_backing && overlay->backed_len ? overlay->backed_len : 1;
	disk->link = (struct link_state){ 0 };
	copy_walk_begin(disk, o, job->start_ns);
	pthread_mutex_lock(&c->mutex);
	c->running = true;
	c->want_abort = c->want_finalize = c->new_speed = false;
	c->want_pause = o->flags & BPULL_JOB_START_PAUSED;
	pthread_mutex_unlock(&c->mutex);
	events_drop_taken(disk);
	if (!overlay->has_backing || disk->chain->pull_to < 2) {
		begin_idle(disk);
		return;
	}
	if (verify_is_on(disk))
		verify_holes_begin(disk);
	job->step = JOB_COPYING;
	job->paused = c->want_pause;
	proof_owe_all(disk);
	cursor_start(disk);
	job_publish_info(disk, job->start_ns);
}
