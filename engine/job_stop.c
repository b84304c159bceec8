/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Stopping at an error. A read of the chain that failed, or a write that found
 * no space, says nothing of what was copied: the job is paused as by its user,
 * what is in flight ends and is committed, and once it is told to go on, the
 * cursor goes on with what runs have put back.
 *
 * A failed barrier or table write (I7) and a damaged image always fail the job.
 *
 * With IGNORE a run that could not read is over without an error. What it was
 * to copy stays owed (proof.h), so that the link can't go; the next walk, which
 * would meet the same error, is not begun.
 */
#include "engine/job_stop.h"

#include <errno.h>
#include <string.h>

#include "engine/commit.h"
#include "engine/engine.h"
#include "io/base.h"

/* Each takes memory until the next job starts. */
#define MAX_IGNORED_EVENTS 256

static bool wants_stop(const struct bpull_disk *disk, int error)
{
	bool no_space = error == -ENOSPC || error == -EDQUOT;

	if (disk->poisoned || disk->job.step == JOB_IDLE || disk->job.step == JOB_UNWINDING ||
	    disk->job.link_changed)
		return false;
	switch (disk->job.on_error) {
	case BPULL_ON_ERROR_ENOSPC: return no_space;
	case BPULL_ON_ERROR_STOP: return no_space || (error != -EUCLEAN && error != -ENOTSUP);
	case BPULL_ON_ERROR_REPORT:
	case BPULL_ON_ERROR_IGNORE: break;
	}
	return false;
}

bool job_stop(struct bpull_disk *disk, const struct op *op, const char *message)
{
	struct job *job = &disk->job;

	if (!wants_stop(disk, op->error))
		return false;
	if (job->stopped) /* what else was in flight */
		return true;
	job->stopped = true;
	job->n.stop_error = op->error;
	job->n.stop_offset = op->error_off;
	job->n.stop_was_read = op->error_was_read;
	pthread_mutex_lock(&disk->control.mutex);
	disk->control.want_pause = true;
	pthread_mutex_unlock(&disk->control.mutex);
	job->paused = true;
	events_push_stopped(disk, op->error, message);
	engine_again(disk->engine); /* the job obeys the pause, and hurries what is in the way */
	return true;
}

bool job_ignore(struct bpull_disk *disk, const struct op *op)
{
	struct job *job = &disk->job;
	char message[sizeof(job->message)];

	if (job->on_error != BPULL_ON_ERROR_IGNORE || disk->poisoned || job->step != JOB_COPYING ||
	    !op->error_was_read || !op->error_file)
		return false;
	job_describe_failure(disk, op, "", message, sizeof(message));
	if (!job->n_ignored++) {
		job->ignored_error = op->error;
		memcpy(job->ignored_message, message, sizeof(job->ignored_message));
	}
	if (job->n_ignored <= MAX_IGNORED_EVENTS)
		events_push_ignored(disk, op->error, message);
	return true;
}

bool job_fail_ignored(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (!job->n_ignored)
		return false;
	job_fail(disk, job->ignored_error,
		 "%.600s; %u stretches were left out, what was copied is kept, and so is the link",
		 job->ignored_message, job->n_ignored);
	return true;
}

bool job_is_stopped(const struct bpull_disk *disk)
{
	return disk->job.stopped && disk->job.paused;
}

void job_forget_stop(struct job *job)
{
	job->stopped = false;
	job->n.stop_error = 0;
	job->n.stop_offset = 0;
	job->n.stop_was_read = 0;
}

void job_go_on(struct bpull_disk *disk)
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
