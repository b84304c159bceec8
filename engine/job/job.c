/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job from start to conclusion:
 *
 *   IDLE -> COPYING -> COMMITTING -> PROVING -> [VERIFYING] -> [READY] -> DETACHING -> COMPLETED
 *              \___________\____________\____________\___________\-> UNWINDING -> FAILED, CANCELED
 *
 * job_run() looks at the step after every round of the engine and moves on
 * when what the step waits for is there. It is idempotent, so no caller has to
 * know which other part it must wake. Messages from every component to the next
 * step were rejected: a missed one is a job that hangs at 98 %. What is done in
 * each step is in steps.c; what a job holds and may trust in each of them is
 * listed in docs/architecture.md, "The states of a job".
 */
#include "engine/job/job.h"

#include <assert.h>
#include <pthread.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/mixed.h"
#include "engine/commit/state.h"
#include "engine/copy/cursor.h"
#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/aside.h"
#include "engine/core/clock.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/fault.h"
#include "engine/guest/write.h"
#include "engine/job/chain/down.h"
#include "engine/job/kinds.h"
#include "engine/job/progress/info.h"
#include "engine/job/progress/pace.h"
#include "engine/job/steps.h"
#include "engine/job/verify_holes.h"
#include "formats/core/layer.h"
#include "io/base.h"

void job_obey(struct bpull_disk *disk, uint64_t now_ns)
{
	struct control *c = &disk->control;
	struct job *job = &disk->job;

	pthread_mutex_lock(&c->mutex);
	if (job_take_retry(job, c->keep_paused, now_ns))
		c->want_pause = false;
	job->paused = c->want_pause;
	job->aborted |= c->want_abort;
	job->finalize |= c->want_finalize;
	if (c->new_speed)
		pace_set_speed(disk, c->bandwidth, c->burst, now_ns);
	c->new_speed = false;
	pace_set_rates(disk, &c->rates, now_ns);
	c->rates.which = 0;
	pthread_mutex_unlock(&c->mutex);
	if (job->paused)
		throttle_bypass(disk);
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
		return disk->flatten && job->fault.error;
	return job->fault.error || disk->poisoned || job->aborted;
}

static void step_ready(struct bpull_disk *disk, uint64_t now_ns)
{
	if (disk->job.finalize)
		disk->job.kind->finalize(disk);
}

static const struct step_kind {
	void (*run)(struct bpull_disk *disk, uint64_t now_ns);
	bool has_cursor; /* a job that goes on after a stop begins with the cursor */
} steps[] = {
	[JOB_COPYING] = { job_step_copying, .has_cursor = true },
	[JOB_COMMITTING] = { job_step_committing },
	[JOB_PROVING] = { job_step_proving, .has_cursor = true },
	/* A list that is full may have begun it while the job was stopped. */
	[JOB_VERIFYING] = { job_step_verifying, .has_cursor = true },
	[JOB_READY] = { step_ready },
	[JOB_DETACHING] = { job_step_detaching },
	[JOB_UNWINDING] = { job_step_unwinding },
};

/* The program has resumed a stopped job: tries again what failed. False: a base was changed
 * meanwhile, and the job fails of that; or that is not known yet. A base that was cut short would
 * fail each try, and no commit would ever look at it. */
static bool go_on(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (!job->fault.stopped)
		return true;
	if (!disk->link.leaving && mixed_check_files(disk))
		return false;
	events_prepare_stopped(disk);
	job_forget_stop(job);
	job->n_gone_on++;
	commit_retry(disk);
	if (job_written(disk) != disk)
		commit_retry(job_written(disk));
	if (steps[job->step].has_cursor)
		cursor_go_on(disk);
	return true;
}

/* False: the step waits. */
static bool prepare_step(struct bpull_disk *disk)
{
	/* The link is gone: it goes on even where a guest's commit stalls. */
	if (disk->job.step == JOB_DETACHING && disk->link.changed)
		return true;
	disk->job.kind->before_step(disk);
	/* What was copied is made durable while it waits, if only that is possible. */
	if (job_is_stopped(disk) && (disk->job.step != JOB_COPYING || commit_is_stalled(disk)))
		return false;
	if (!job_is_stopped(disk) && !go_on(disk))
		return false;
	/* A guest's commit found no space while there was no job to fail. */
	if (disk->job.step != JOB_UNWINDING)
		commit_retry(disk);
	return true;
}

static void run_step(struct bpull_disk *disk, uint64_t now_ns)
{
	static_assert(ARRAY_LEN(steps) == JOB_UNWINDING + 1, "each step has a row");

	if (aside_runs(disk)) /* its end runs the job again */
		return;
	if (must_unwind(disk))
		job_step_begin_unwinding(disk);
	if (prepare_step(disk))
		steps[disk->job.step].run(disk, now_ns);
}

void job_run(struct bpull_disk *disk, uint64_t now_ns)
{
	enum job_step before;

	do {
		before = disk->job.step;
		run_step(disk, now_ns);
		if (disk->job.step != before)
			aside_begin_step(disk);
	} while (disk->job.step != before && disk->job.step != JOB_IDLE);
}

uint64_t job_deadline_ns(struct bpull_disk *disk, uint64_t now_ns)
{
	uint64_t at_ns = UINT64_MAX;

	/* A job that ended while it waited for a source tries nothing again. */
	if (disk->job.fault.retry_ns && disk->job.step != JOB_IDLE)
		at_ns = disk->job.fault.retry_ns;
	if (disk->job.step != JOB_COPYING)
		return at_ns;
	at_ns = MIN(at_ns, pace_deadline_ns(disk));
	at_ns = MIN(at_ns, throttle_release(disk, now_ns));
	if (disk->walk->rest_ns)
		at_ns = MIN(at_ns, disk->walk->rest_ns);
	if (engine_has_ready(disk->engine))
		at_ns = now_ns;
	if (!commit_is_running(disk))
		at_ns = MIN(at_ns, commit_due_ns(disk));
	return at_ns;
}

/* There is nothing to pull. Where a cut came between dropping the link and clearing the mark, the
 * mark is cleared now. */
static void begin_idle(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);
	struct job *job = &disk->job;

	if (!disk->nodes.of && (!overlay->is_mixed || overlay->has_backing ||
				!(job->flags & BPULL_JOB_ACCEPT_MIXED))) {
		job_conclude(disk, BPULL_JOB_COMPLETED);
		return;
	}
	job->step = JOB_DETACHING;
	disk->link.changed = true;
	job_publish_info(disk, job->start_ns);
}

/* The node's job is the disk's. */
static void begin_for(struct bpull_disk *disk, struct bpull_disk *node)
{
	pthread_mutex_lock(&disk->control.mutex);
	disk->control.running = true;
	disk->nodes.working = node;
	pthread_mutex_unlock(&disk->control.mutex);
}

void job_begin(struct bpull_disk *disk, const struct bpull_job_options *o)
{
	struct layer *overlay = disk_overlay(disk);
	struct control *c = &disk->control;
	struct job *job = &disk->job;

	*job = (struct job){ .kind = job_kind_of(disk),
			     .flags = o->flags,
			     .on_error = o->on_error,
			     .start_ns = engine_now_ns(),
			     .n_synced_before = disk->commits.n_synced,
			     .left = job->left };
	job_begin_info(disk, job->kind->type, job->kind->guest_end(disk));
	disk->link = (struct link_state){ 0 };
	copy_walk_begin(disk, o, job->start_ns);
	pace_begin(disk, o, job->start_ns);
	pthread_mutex_lock(&c->mutex);
	c->running = true;
	c->want_abort = c->want_finalize = c->new_speed = false;
	c->rates.which = 0;
	c->want_pause = c->keep_paused = o->flags & BPULL_JOB_START_PAUSED;
	pthread_mutex_unlock(&c->mutex);
	if (disk->nodes.of)
		begin_for(disk->nodes.of, disk);
	events_drop_taken(disk);
	if (!overlay->has_backing || disk->chain->pull_to < 2) {
		begin_idle(disk);
		return;
	}
	if (verify_is_on(disk))
		verify_holes_begin(disk);
	job->step = JOB_COPYING;
	/* What other threads asked for since, under the mutex, is obeyed in the first round. */
	job->paused = o->flags & BPULL_JOB_START_PAUSED;
	proof_owe_all(disk);
	guest_note_changes(disk);
	cursor_start(disk);
	if (job->kind->type == BPULL_JOB_TYPE_PULL)
		company_join(disk);
	pace_start(disk, job->start_ns);
	job_publish_info(disk, job->start_ns);
}
