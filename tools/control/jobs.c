/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs as QMP's clients see them. The library tells of a job's READY, errors
 * and end by events; each stands for the whole way that QEMU's job goes to that
 * point, so that no state between two looks is lost:
 *
 *   created, running, waiting, pending, [BLOCK_JOB_PENDING,]
 *       BLOCK_JOB_COMPLETED, concluded, null
 *   running, [BLOCK_JOB_ERROR,] aborting,
 *       BLOCK_JOB_COMPLETED (error) or BLOCK_JOB_CANCELLED, concluded, null
 *
 * Only a pause is found by looking: the library has no event for it. A job that
 * was started stays in the list until its end, and one that is not dismissed by
 * itself until a client does it.
 */
#include "tools/control/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/events.h"
#include "tools/control/nodes.h"
#include "tools/control/suspend.h"

/* ---- the list ---- */

struct control_job *control_job_new(const char *id)
{
	struct control_job *job = calloc(1, sizeof(*job));

	if (job)
		job->id = strdup(id);
	if (job && !job->id) {
		free(job);
		return NULL;
	}
	return job;
}

void control_job_free(struct control_job *job)
{
	if (!job)
		return;
	free(job->id);
	free(job->base);
	free(job->base_name);
	free(job);
}

void control_job_begin(struct control_target *target, struct control_job *job)
{
	job->next = target->jobs;
	target->jobs = target->active = job;
	control_tell_status(target, job, "created");
	control_tell_status(target, job, "running");
}

void control_job_started(struct control_target *target, const struct bpull_job_options *options)
{
	struct control_job *job = control_job_new(target->device);

	if (!job || !control_job_keep(job, options)) {
		control_job_free(job);
		return;
	}
	job->auto_finalize = !(options->flags & BPULL_JOB_MANUAL_FINALIZE);
	job->auto_dismiss = true;
	job->on_error = options->on_error;
	control_job_begin(target, job);
}

struct control_job *control_job_find(const struct control_target *target, const char *id)
{
	struct control_job *job = target->jobs;

	while (job && strcmp(job->id, id))
		job = job->next;
	return job;
}

struct bpull_job_info control_job_info(const struct control_target *target,
				       const struct control_job *job)
{
	struct bpull_job_info info = job->end;

	info.size = sizeof(info);
	if (job == target->active && !job->is_held && !job->is_suspended && target->disk)
		bpull_job_get_info(target->disk, &info);
	return info;
}

void control_job_dismiss(struct control_target *target, struct control_job *job)
{
	struct control_job **link = &target->jobs;

	control_tell_status(target, job, "null");
	while (*link != job)
		link = &(*link)->next;
	*link = job->next;
	control_job_free(job);
}

void control_forget(struct control_target *target)
{
	while (target->jobs) {
		struct control_job *next = target->jobs->next;

		control_job_free(target->jobs);
		target->jobs = next;
	}
	target->active = NULL;
	control_nodes_close(target);
	json_object_put(target->last);
	json_object_put(target->news);
	target->last = target->news = NULL;
}

/* ---- states ---- */

static bool jobs_is_told(const struct control_job *job, const char *status)
{
	return !strcmp(job->status, status);
}

/* What a paused job passes through on its way to anything else. */
static void jobs_tell_running(struct control_target *target, struct control_job *job)
{
	if (jobs_is_told(job, "paused"))
		control_tell_status(target, job, "running");
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
		if (jobs_is_told(job, "paused")) { /* by a signal, say */
			job->is_user_paused = false;
			job->why[0] = 0;
			control_tell_status(target, job, "running");
		}
		job->is_resuming = false;
	} else if (jobs_is_told(job, "running") && !job->is_resuming && !info.stop_error) {
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
	jobs_tell_running(target, job);
}

static void jobs_tell_pending(struct control_target *target, struct control_job *job)
{
	jobs_tell_running(target, job);
	if (!jobs_is_told(job, "running"))
		return;
	control_tell_status(target, job, "waiting");
	control_tell_status(target, job, "pending");
	if (!job->auto_finalize)
		control_tell_pending(target, job);
}

static struct json_object *jobs_report(const struct control_target *target,
				       const struct control_job *job)
{
	struct bpull_job_info info = control_job_info(target, job);
	bool is_over = info.state == BPULL_JOB_CONCLUDED && job != target->active;
	const char *status = is_over ? job_status_word(info.status) : NULL;
	struct json_object *object = json_object_new_object();

	control_add_text(object, "id", job->id);
	control_add_text(object, "filename", target->device);
	json_object_object_add(object, "status", status ? json_object_new_string(status) : NULL);
	json_object_object_add(object, "error", NULL);
	if (*job->why)
		control_add_text(object, "error", job->why);
	json_object_object_add(object, "errno",
			       json_object_new_int(info.stop_error ? -info.stop_error
						   : is_over       ? -info.error
								   : 0));
	job_json_progress(object, &info, &job->since);
	return object;
}

struct json_object *control_job_report(const struct control_target *target)
{
	if (target->active)
		return jobs_report(target, target->active);
	return json_object_get(target->last);
}

static void jobs_conclude(struct control_target *target, struct control_job *job)
{
	target->active = NULL;
	job->is_held = false;
	control_tell_status(target, job, "concluded");
	json_object_put(target->last);
	target->last = jobs_report(target, job);
	if (job->auto_dismiss)
		control_job_dismiss(target, job);
}

static void jobs_complete(struct control_target *target, struct control_job *job)
{
	/* A job that finds nothing to do ends without asking. One that is to ask waits here
	 * instead, as QEMU's does, where the owner goes on. */
	if (!job->auto_finalize && !jobs_is_told(job, "pending") && target->stays &&
	    !job->is_held) {
		job->is_held = true;
		jobs_tell_pending(target, job);
		return;
	}
	jobs_tell_pending(target, job);
	control_tell_end(target, job, "BLOCK_JOB_COMPLETED", NULL);
	jobs_conclude(target, job);
}

static void jobs_cancel(struct control_target *target, struct control_job *job)
{
	snprintf(job->error, sizeof(job->error), "Operation canceled");
	jobs_tell_running(target, job);
	control_tell_status(target, job, "aborting");
	control_tell_end(target, job, "BLOCK_JOB_CANCELLED", NULL);
	jobs_conclude(target, job);
}

void control_job_release(struct control_target *target, struct control_job *job, bool completes)
{
	if (completes) {
		jobs_complete(target, job);
		return;
	}
	job->end.status = BPULL_JOB_CANCELED;
	jobs_cancel(target, job);
}

void control_job_fail(struct control_target *target, struct control_job *job, const char *message)
{
	snprintf(job->error, sizeof(job->error), "%s", message);
	jobs_tell_running(target, job);
	if (job->end.error_was_io)
		control_tell_error(target, job, job->end.error_was_read, "report", message);
	control_tell_status(target, job, "aborting");
	control_tell_end(target, job, "BLOCK_JOB_COMPLETED", job->error);
	jobs_conclude(target, job);
}

static void jobs_stop(struct control_target *target, struct control_job *job, const char *message)
{
	struct bpull_job_info info = control_job_info(target, job);

	jobs_tell_running(target, job); /* of a job that went on, and has met the next error */
	snprintf(job->why, sizeof(job->why), "%s", message);
	job->is_user_paused = true;
	job->is_resuming = false;
	control_tell_error(target, job, info.stop_was_read, "stop", message);
	if (jobs_is_told(job, "running"))
		control_tell_status(target, job, "paused");
}

void control_job_event(struct control_target *target, const struct bpull_event *event)
{
	struct control_job *job = target->active;

	if (!job || event->disk != target->disk)
		return;
	switch (event->type) {
	case BPULL_EVENT_JOB_STOPPED: jobs_stop(target, job, event->message); return;
	case BPULL_EVENT_JOB_IGNORED:
		control_tell_error(target, job, true, "ignore", event->message);
		return;
	case BPULL_EVENT_JOB_RESUMED:
		job->is_user_paused = false;
		jobs_tell_running(target, job);
		return;
	case BPULL_EVENT_IO: return;
	case BPULL_EVENT_JOB: break;
	}
	if (event->status != BPULL_JOB_READY) {
		job->end = control_job_info(target, job);
		snprintf(job->why, sizeof(job->why), "%s", event->message);
	}
	switch (event->status) {
	case BPULL_JOB_COMPLETED: jobs_complete(target, job); return;
	case BPULL_JOB_CANCELED: jobs_cancel(target, job); return;
	case BPULL_JOB_FAILED: control_job_fail(target, job, event->message); return;
	case BPULL_JOB_READY: jobs_tell_pending(target, job); return;
	}
}
