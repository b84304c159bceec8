/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs as QMP's clients see them. The library tells of a job's READY, errors
 * and end by events; each stands for the whole way that QEMU's job goes to that
 * point, so that no state between two looks is lost:
 *
 *   created, running, waiting, pending, [BLOCK_JOB_PENDING,]
 *       BLOCK_JOB_COMPLETED, concluded, null
 *   running, ready, BLOCK_JOB_READY, waiting, ... (a commit of the image itself)
 *   running, [BLOCK_JOB_ERROR,] aborting,
 *       BLOCK_JOB_COMPLETED (error) or BLOCK_JOB_CANCELLED, concluded, null
 *
 * Only a pause is found by looking: the library has no event for it.
 */
#include "tools/control/jobs/job_states.h"

#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/jobs/jobs.h"
#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"

static bool job_states_is_told(const struct control_job *job, const char *status)
{
	return !strcmp(job->status, status);
}

/* What a paused job passes through on its way to anything else. One that waits to be told to
 * complete is "standby" while it is paused, and "ready" again. */
static void job_states_tell_running(struct control_target *target, struct control_job *job)
{
	if (job_states_is_told(job, "paused"))
		control_tell_status(target, job, "running");
	if (job_states_is_told(job, "standby"))
		control_tell_status(target, job, "ready");
}

void control_job_look(struct control_target *target)
{
	struct control_job *job = target->active;
	struct bpull_job_info info;

	if (!job || job->is_held || job->is_suspended || !target->disk)
		return;
	info = control_job_info(target, job);
	if (info.state == BPULL_JOB_CONCLUDED || info.state == BPULL_JOB_NONE)
		return; /* its event is on the way */
	if (info.state != BPULL_JOB_PAUSED) {
		if (job_states_is_told(job, "paused")) { /* by a signal, say */
			job->is_user_paused = false;
			job->why[0] = 0;
			control_tell_status(target, job, "running");
		}
		job->is_resuming = false;
	} else if (job_states_is_told(job, "running") && !job->is_resuming && !info.stop_error) {
		/* An error's event tells of itself before it tells of the pause. */
		job->is_user_paused = true;
		control_tell_status(target, job, "paused");
	}
}

void control_job_resumed(struct control_target *target, struct control_job *job)
{
	struct bpull_job_info info = control_job_info(target, job);

	job->is_user_paused = false;
	job->is_resuming = true;
	job->why[0] = 0;
	job->since = job_since(&info);
	job_states_tell_running(target, job);
	if (job->is_completing)
		control_job_complete(target, job);
}

static void job_states_tell_pending(struct control_target *target, struct control_job *job)
{
	job_states_tell_running(target, job);
	if (!job_states_is_told(job, "running") && !job_states_is_told(job, "ready"))
		return;
	control_tell_status(target, job, "waiting");
	control_tell_status(target, job, "pending");
	if (!job->auto_finalize)
		control_tell_pending(target, job);
}

int control_job_complete(struct control_target *target, struct control_job *job)
{
	bool is_first = !job->is_completing;
	int rc;

	job->is_completing = true;
	if (!job_states_is_told(job, "ready"))
		return 0; /* it is paused, or its disk is given away: when it is ready again */
	if (!job->auto_finalize) {
		job_states_tell_pending(target, job);
		return 0;
	}
	rc = control_job_finish(target, job);
	return is_first ? rc : 0;
}

int control_job_finish(struct control_target *target, struct control_job *job)
{
	if (job->is_active && target->turns && target->turns->begin)
		target->turns->begin(target->owner);
	return job->is_kept ? bpull_job_abort(target->disk) : bpull_job_finalize(target->disk);
}

/* Clients are told once, also of a job that began anew with its disk. */
static void job_states_tell_ready(struct control_target *target, struct control_job *job)
{
	struct bpull_job_info info = control_job_info(target, job);
	bool is_new = !job_states_is_told(job, "standby");

	job_states_tell_running(target, job);
	if (job_states_is_told(job, "running"))
		control_tell_status(target, job, "ready");
	if (is_new)
		control_tell_ready(target, job, &info);
	if (job->is_completing)
		control_job_complete(target, job);
}

static void job_states_conclude(struct control_target *target, struct control_job *job)
{
	target->active = NULL;
	job->is_held = false;
	control_tell_status(target, job, "concluded");
	control_job_report_end(target, job);
	if (job->auto_dismiss)
		control_job_dismiss(target, job);
}

/* The chain is another one now, or has stayed what it was when it was to change. */
static void job_states_settle(struct control_target *target, struct control_job *job)
{
	const char *path;

	/* A process that ends with its job is asked nothing more. */
	if (!target->disk || !target->stays)
		return;
	json_object_put(job->lost);
	job->lost = json_object_new_array();
	for (uint32_t i = 0; (path = bpull_job_dropped(target->disk, i)); i++)
		control_add_item(job->lost, path);
	control_nodes_settle(target);
	if (job->is_active && target->top && target->turns && target->turns->end)
		target->turns->end(target->owner, target->top);
}

static void job_states_complete(struct control_target *target, struct control_job *job)
{
	/* A job that finds nothing to do ends without asking. One that is to ask waits here
	 * instead, as QEMU's does, where the owner goes on. */
	if (!job->auto_finalize && !job_states_is_told(job, "pending") && target->stays &&
	    !job->is_held) {
		job->is_held = true;
		job_states_tell_pending(target, job);
		return;
	}
	job_states_tell_pending(target, job);
	control_tell_end(target, job, "BLOCK_JOB_COMPLETED", NULL);
	job_states_conclude(target, job);
}

static void job_states_cancel(struct control_target *target, struct control_job *job)
{
	if (job->is_kept) {
		/* What the client has asked for is done: the base has all, the image its place. */
		job_states_complete(target, job);
		return;
	}
	snprintf(job->error, sizeof(job->error), "Operation canceled");
	job_states_tell_running(target, job);
	control_tell_status(target, job, "aborting");
	control_tell_end(target, job, "BLOCK_JOB_CANCELLED", NULL);
	job_states_conclude(target, job);
}

void control_job_release(struct control_target *target, struct control_job *job, bool completes)
{
	if (completes) {
		job_states_complete(target, job);
		return;
	}
	job->end.status = BPULL_JOB_CANCELED;
	job_states_cancel(target, job);
}

void control_job_fail(struct control_target *target, struct control_job *job, const char *message)
{
	snprintf(job->error, sizeof(job->error), "%s", message);
	job_states_tell_running(target, job);
	if (job->end.error_was_io)
		control_tell_error(target, job, job->end.error_was_read, "report", message);
	control_tell_status(target, job, "aborting");
	control_tell_end(target, job, "BLOCK_JOB_COMPLETED", job->error);
	job_states_conclude(target, job);
}

static void job_states_stop(struct control_target *target, struct control_job *job,
			    const char *message)
{
	struct bpull_job_info info = control_job_info(target, job);

	job_states_tell_running(target,
				job); /* of a job that went on, and has met the next error */
	snprintf(job->why, sizeof(job->why), "%s", message);
	job->is_user_paused = true;
	job->is_resuming = false;
	control_tell_error(target, job, info.stop_was_read, "stop", message);
	if (job_states_is_told(job, "running"))
		control_tell_status(target, job, "paused");
}

void control_job_event(struct control_target *target, const struct bpull_event *event)
{
	struct control_job *job = target->active;

	if (!job || event->disk != target->disk)
		return;
	switch (event->type) {
	case BPULL_EVENT_JOB_STOPPED: job_states_stop(target, job, event->message); return;
	case BPULL_EVENT_JOB_IGNORED:
		control_tell_error(target, job, true, "ignore", event->message);
		return;
	case BPULL_EVENT_JOB_RESUMED:
		job->is_user_paused = false;
		job_states_tell_running(target, job);
		return;
	case BPULL_EVENT_IO: return;
	case BPULL_EVENT_JOB: break;
	}
	if (event->status != BPULL_JOB_READY) {
		job->end = control_job_info(target, job);
		job_states_settle(target, job);
		snprintf(job->why, sizeof(job->why), "%s", event->message);
	}
	switch (event->status) {
	case BPULL_JOB_COMPLETED: job_states_complete(target, job); return;
	case BPULL_JOB_CANCELED: job_states_cancel(target, job); return;
	case BPULL_JOB_FAILED: control_job_fail(target, job, event->message); return;
	case BPULL_JOB_READY:
		if (job->is_active)
			job_states_tell_ready(target, job);
		else
			job_states_tell_pending(target, job);
		return;
	}
}
