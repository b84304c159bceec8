/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The verbs that change one job: QEMU's block-job-* and job-*. One disk is served: so a request may
 * leave out which job it means.
 */
#include "tools/control/job_verbs.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/control/jobs/job_states.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/jobs/suspend.h"
#include "tools/control/state/args.h"
#include "tools/control/state/events.h"

/* Which of QEMU's two families a verb is of: they name the job differently, and a missing one
 * too. */
enum family {
	OF_BLOCK_JOBS, /* block-job-*: DeviceNotActive */
	OF_JOBS,       /* job-*: GenericError */
};

static struct json_object *job_verbs_not_found(enum family family, const char *name)
{
	if (family == OF_JOBS)
		return control_refuse("GenericError", "Job not found");
	return control_refuse("DeviceNotActive", "Block job '%.200s' not found", name);
}

static const char *job_verbs_job_name(struct json_object *args)
{
	const char *name = control_text(args, "device");

	return name ? name : control_text(args, "id");
}

/* The job that the request means, or its refusal: one of the two is NULL. Without a name it is the
 * one that has not ended, or the latest. */
static struct control_job *job_verbs_find(struct control_target *target, struct json_object *args,
					  enum family family, struct json_object **refusal)
{
	const char *name = job_verbs_job_name(args);
	struct control_job *job = name             ? control_job_find(target, name)
				  : target->active ? target->active
						   : target->jobs;

	control_job_look(target);
	*refusal = job ? NULL : job_verbs_not_found(family, name ? name : target->device);
	return job;
}

/* QEMU's table: which verb a job takes in which state. */
static struct json_object *job_verbs_check_verb(const struct control_job *job, const char *verb)
{
	bool is_ready = !strcmp(job->status, "ready") || !strcmp(job->status, "standby");
	bool is_alive =
		is_ready || !strcmp(job->status, "running") || !strcmp(job->status, "paused");
	bool is_pending = !strcmp(job->status, "pending");
	bool may = is_alive;

	if (!strcmp(verb, "cancel"))
		may = is_alive || is_pending;
	else if (!strcmp(verb, "finalize"))
		may = is_pending;
	else if (!strcmp(verb, "dismiss"))
		may = !strcmp(job->status, "concluded");
	else if (!strcmp(verb, "complete"))
		may = is_ready;
	if (may)
		return NULL;
	return control_refuse("GenericError",
			      "Job '%.200s' in state '%s' cannot accept command verb '%s'", job->id,
			      job->status, verb);
}

/* It ended, or began to, after it was looked at: its event is on the way. */
static struct json_object *job_verbs_answer_of(const struct control_job *job, int rc)
{
	return rc ? control_refuse("GenericError", "Job '%.200s' is ending", job->id)
		  : control_ok(NULL);
}

static struct json_object *job_verbs_set_speed(struct control_target *target,
					       struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = job_verbs_check_verb(job, "set-speed");
	struct bpull_job_info info;
	int64_t speed = -1;

	if (refusal)
		return refusal;
	control_integer(args, "speed", &speed);
	if (speed < 0)
		return control_refuse("GenericError",
				      "Parameter 'speed' expects a non-negative value");
	info = control_job_info(target, job);
	job->since = job_since(&info);
	return job_verbs_answer_of(job, bpull_job_set_speed(target->disk, speed, 0));
}

/* Of the arguments one that is a rate or a time: sets *to, in units of `unit`. A refusal, or
 * NULL. */
static struct json_object *job_verbs_take_rate(struct json_object *args, const char *name,
					       uint64_t unit, uint32_t bit, uint32_t *which,
					       uint64_t *to)
{
	int64_t value;

	if (!control_integer(args, name, &value))
		return NULL;
	if (value < 0 || (uint64_t)value > UINT64_MAX / unit)
		return control_refuse("GenericError", "Parameter '%s' is out of range", name);
	*to = (uint64_t)value * unit;
	*which |= bit;
	return NULL;
}

static struct json_object *job_verbs_set_rates(struct control_target *target,
					       struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = job_verbs_check_verb(job, "set-rates");
	struct bpull_job_rates rates = { .size = sizeof(rates) };
	struct bpull_job_info info;

	if (!refusal)
		refusal = job_verbs_take_rate(args, "iops", 1, BPULL_JOB_RATE_IOPS, &rates.which,
					      &rates.iops);
	if (!refusal)
		refusal = job_verbs_take_rate(args, "within-us", 1000, BPULL_JOB_RATE_WITHIN,
					      &rates.which, &rates.within_ns);
	if (!refusal)
		refusal = job_verbs_take_rate(args, "min-rate", 1, BPULL_JOB_RATE_MIN, &rates.which,
					      &rates.min_rate);
	if (!refusal)
		refusal = job_verbs_take_rate(args, "guest-p99-us", 1000, BPULL_JOB_RATE_GUEST_P99,
					      &rates.which, &rates.guest_p99_ns);
	if (!refusal && rates.guest_p99_ns && !target->stays)
		refusal = control_refuse("GenericError", "The disk is not served here: it has no "
							 "guest that the job could give way to");
	if (refusal)
		return refusal;
	info = control_job_info(target, job);
	job->since = job_since(&info);
	return job_verbs_answer_of(job, bpull_job_set_rates(target->disk, &rates));
}

static struct json_object *job_verbs_pause_job(struct control_target *target,
					       struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = job_verbs_check_verb(job, "pause");
	int rc;

	(void)args;
	if (refusal)
		return refusal;
	if (job->is_user_paused)
		return control_refuse("GenericError", "Job is already paused");
	rc = bpull_job_pause(target->disk);
	job->is_user_paused = !rc;
	job->is_resuming = false;
	/* The library waits in this state, and has no other for it. */
	if (!rc && !strcmp(job->status, "ready"))
		control_tell_status(target, job, "standby");
	return job_verbs_answer_of(job, rc);
}

static struct json_object *job_verbs_resume_job(struct control_target *target,
						struct control_job *job, struct json_object *args)
{
	int rc;

	(void)args;
	if (!job->is_user_paused || job != target->active)
		return control_refuse("GenericError", "Can't resume a job that was not paused");
	rc = bpull_job_resume(target->disk);
	if (!rc)
		control_job_resumed(target, job);
	return job_verbs_answer_of(job, rc);
}

static struct json_object *job_verbs_cancel_job(struct control_target *target,
						struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = job_verbs_check_verb(job, "cancel");
	int rc;

	(void)args;
	if (refusal)
		return refusal;
	if (job->is_held) {
		control_job_release(target, job, false);
		return control_ok(NULL);
	}
	rc = bpull_job_abort(target->disk);
	job->is_canceled = !rc;
	job->is_kept = false;
	return job_verbs_answer_of(job, rc);
}

static struct json_object *job_verbs_cancel_block_job(struct control_target *target,
						      struct control_job *job,
						      struct json_object *args)
{
	bool force = false;

	control_boolean(args, "force", &force);
	if (job->is_user_paused && job == target->active && !force)
		return control_refuse("GenericError",
				      "The block job for device '%.200s' is currently paused",
				      job->id);
	/* QEMU's way to end a commit without giving the image away. */
	if (!force && !strcmp(job->status, "ready")) {
		job->is_kept = true;
		return job_verbs_answer_of(job, control_job_complete(target, job));
	}
	return job_verbs_cancel_job(target, job, args);
}

static struct json_object *job_verbs_finalize_job(struct control_target *target,
						  struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = job_verbs_check_verb(job, "finalize");

	(void)args;
	if (refusal)
		return refusal;
	if (job->is_held) {
		control_job_release(target, job, true);
		return control_ok(NULL);
	}
	return job_verbs_answer_of(job, control_job_finish(target, job));
}

static struct json_object *job_verbs_complete_job(struct control_target *target,
						  struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = job_verbs_check_verb(job, "complete");

	(void)args;
	return refusal ? refusal : job_verbs_answer_of(job, control_job_complete(target, job));
}

static struct json_object *job_verbs_dismiss_job(struct control_target *target,
						 struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = job_verbs_check_verb(job, "dismiss");

	(void)args;
	if (refusal)
		return refusal;
	control_job_dismiss(target, job);
	return control_ok(NULL);
}

/* ---- the table ---- */

static const struct control_arg device_args[] = { { "device", CONTROL_TEXT, false }, { 0 } };
static const struct control_arg id_args[] = { { "id", CONTROL_TEXT, false }, { 0 } };
static const struct control_arg cancel_args[] = { { "device", CONTROL_TEXT, false },
						  { "force", CONTROL_BOOLEAN, false },
						  { 0 } };
static const struct control_arg speed_args[] = { { "device", CONTROL_TEXT, false },
						 { "speed", CONTROL_INTEGER, true },
						 { 0 } };

static const struct control_arg rates_args[] = {
	{ "id", CONTROL_TEXT, false },           { "guest-p99-us", CONTROL_INTEGER, false },
	{ "iops", CONTROL_INTEGER, false },      { "min-rate", CONTROL_INTEGER, false },
	{ "within-us", CONTROL_INTEGER, false }, { 0 }
};

static const struct {
	const char *name;
	enum family family;
	const struct control_arg *args;
	struct json_object *(*run)(struct control_target *target, struct control_job *job,
				   struct json_object *args);
} job_verbs[] = {
	{ "block-job-set-speed", OF_BLOCK_JOBS, speed_args, job_verbs_set_speed },
	{ "block-job-pause", OF_BLOCK_JOBS, device_args, job_verbs_pause_job },
	{ "block-job-resume", OF_BLOCK_JOBS, device_args, job_verbs_resume_job },
	{ "block-job-cancel", OF_BLOCK_JOBS, cancel_args, job_verbs_cancel_block_job },
	{ "block-job-complete", OF_BLOCK_JOBS, device_args, job_verbs_complete_job },
	{ "block-job-finalize", OF_BLOCK_JOBS, id_args, job_verbs_finalize_job },
	{ "block-job-dismiss", OF_BLOCK_JOBS, id_args, job_verbs_dismiss_job },
	{ "job-pause", OF_JOBS, id_args, job_verbs_pause_job },
	{ "job-resume", OF_JOBS, id_args, job_verbs_resume_job },
	{ "job-cancel", OF_JOBS, id_args, job_verbs_cancel_job },
	{ "job-complete", OF_JOBS, id_args, job_verbs_complete_job },
	{ "job-finalize", OF_JOBS, id_args, job_verbs_finalize_job },
	{ "job-dismiss", OF_JOBS, id_args, job_verbs_dismiss_job },
	{ "x-job-set-rates", OF_JOBS, rates_args, job_verbs_set_rates },
};

#define N_VERBS (sizeof(job_verbs) / sizeof(job_verbs[0]))

const char *control_job_verb_name(size_t i)
{
	return i < N_VERBS ? job_verbs[i].name : NULL;
}

bool control_job_verb(struct control_target *target, const char *verb, struct json_object *args,
		      struct json_object **answer)
{
	struct control_job *job;
	size_t i = 0;

	while (i < N_VERBS && strcmp(verb, job_verbs[i].name) != 0)
		i++;
	if (i == N_VERBS)
		return false;
	*answer = control_check_args(job_verbs[i].args, args);
	if (*answer)
		return true;
	job = job_verbs_find(target, args, job_verbs[i].family, answer);
	if (job)
		*answer = control_refuse_inactive(target, job);
	if (job && !*answer)
		*answer = job_verbs[i].run(target, job, args);
	return true;
}
