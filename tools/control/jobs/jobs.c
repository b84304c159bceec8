/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job that was started stays in the list until its end, and one that is not
 * dismissed by itself until a client does it.
 */
#include "tools/control/jobs/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"

/* ---- the list ---- */

struct control_job *control_job_new(const char *id)
{
	struct control_job *job = calloc(1, sizeof(*job));

	if (job) {
		job->id = strdup(id);
		job->type = "stream";
	}
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
	free(job->top);
	json_object_put(job->lost);
	free(job);
}

static char *jobs_copy(const char *text, bool *has_failed)
{
	char *copy = text ? strdup(text) : NULL;

	*has_failed |= text && !copy;
	return copy;
}

bool control_job_keep(struct control_job *job, const struct bpull_job_options *options)
{
	bool has_failed = false;

	job->base = jobs_copy(options->base, &has_failed);
	job->base_name = jobs_copy(options->base_name, &has_failed);
	job->top = jobs_copy(options->top, &has_failed);
	job->options = *options;
	job->options.base = job->base;
	job->options.base_name = job->base_name;
	job->options.top = job->top;
	return !has_failed;
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

bool control_job_uses(const struct control_target *target, const struct control_job *job,
		      uint32_t depth)
{
	uint32_t top = 0, base = 0;

	if (job->top && bpull_disk_find(target->disk, job->top, &top, NULL))
		return false;
	if (!job->base)
		return depth >= top;
	if (bpull_disk_find(target->disk, job->base, &base, NULL))
		return false;
	return depth >= top && depth < base;
}

bool control_job_commits_to(const struct control_target *target, const struct control_job *job,
			    uint32_t depth)
{
	uint32_t base;

	return !strcmp(job->type, "commit") && job->base &&
	       !bpull_disk_find(target->disk, job->base, &base, NULL) && depth == base;
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

/* ---- what is told of them ---- */

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

void control_job_report_end(struct control_target *target, const struct control_job *job)
{
	json_object_put(target->last);
	target->last = jobs_report(target, job);
}
