/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QEMU looks at a request in a certain order, and some of its refusals come after the job was
 * made, so that its clients see a job come and go. Both are kept here.
 */
#include "tools/control/job_request.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/control/blockdev.h"
#include "tools/control/jobs/jobs.h"
#include "tools/control/jobs/suspend.h"
#include "tools/control/state/events.h"

struct json_object *control_request_check_disk(const struct control_target *target,
					       const char *name)
{
	struct json_object *refusal = control_refuse_inactive(target, NULL);

	if (!target->disk && !refusal)
		refusal = control_refuse("GenericError", "The disk is closed");
	/* A job that was not dismissed keeps the disk, with QEMU too. */
	if (target->jobs && !refusal)
		refusal = control_refuse(
			"GenericError",
			"Node '%.200s' is busy: block device is in use by block job: %s", name,
			target->jobs->type);
	return refusal;
}

struct json_object *control_request_take_id(const struct control_target *target,
					    struct json_object *args, struct control_request *r)
{
	r->id = control_text(args, "job-id");
	if (!r->id)
		r->id = target->device;
	else if (strcmp(r->id, target->device) && !control_is_well_formed(r->id))
		return control_refuse("GenericError", "Invalid job ID '%.200s'", r->id);
	return NULL;
}

static struct json_object *request_take_on_error(struct json_object *args,
						 struct control_request *r)
{
	static const struct {
		const char *word;
		uint32_t value;
	} words[] = { { "report", BPULL_ON_ERROR_REPORT },
		      { "ignore", BPULL_ON_ERROR_IGNORE },
		      { "enospc", BPULL_ON_ERROR_ENOSPC },
		      { "stop", BPULL_ON_ERROR_STOP },
		      { "auto", BPULL_ON_ERROR_ENOSPC } };
	const char *word = control_text(args, "on-error");

	if (!word)
		return NULL;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(word, words[i].word)) {
			r->o.on_error = words[i].value;
			return NULL;
		}
	return control_refuse("GenericError", "Parameter 'on-error' does not accept value '%.200s'",
			      word);
}

static struct json_object *request_take_speed(struct json_object *args, struct control_request *r)
{
	int64_t speed;

	if (!control_integer(args, "speed", &speed))
		return NULL;
	if (speed < 0)
		return control_refuse("GenericError",
				      "Parameter 'speed' expects a non-negative value");
	r->o.bandwidth = speed;
	r->o.burst = 0;
	return NULL;
}

static void request_take_verify(struct json_object *args, struct control_request *r)
{
	bool verifies = r->o.flags & BPULL_JOB_VERIFY;

	control_boolean(args, "x-verify", &verifies);
	r->o.flags &= ~(uint32_t)BPULL_JOB_VERIFY;
	r->o.flags |= verifies ? BPULL_JOB_VERIFY : 0;
}

/* There is no such node: jobs here need none. Its name must be good all the same. */
static struct json_object *request_check_filter(const struct control_target *target,
						struct json_object *args,
						const struct control_request *r)
{
	const char *name = control_text(args, "filter-node-name");
	struct json_object *refusal = name ? control_refuse_name(target, name) : NULL;
	struct json_object *error, *desc, *whole;

	if (!refusal || strcmp(r->type, "stream") != 0)
		return refusal;
	json_object_object_get_ex(refusal, "error", &error);
	json_object_object_get_ex(error, "desc", &desc);
	whole = control_refuse("GenericError", "Could not create node: %s",
			       json_object_get_string(desc));
	json_object_put(refusal);
	return whole;
}

/* QEMU makes the job, and looks then: its clients see it come and go. */
static struct json_object *request_refuse_made(struct control_target *target,
					       const struct control_request *r,
					       struct json_object *refusal)
{
	struct control_job *job = refusal ? control_job_new(r->id) : NULL;

	if (job) {
		control_tell_status(target, job, "created");
		control_tell_status(target, job, "null");
	}
	control_job_free(job);
	return refusal;
}

/* Of a commit below the image the filter is made after the job, of others before it. */
static struct json_object *request_take_filter_and_speed(struct control_target *target,
							 struct json_object *args,
							 struct control_request *r)
{
	struct json_object *refusal = request_check_filter(target, args, r);

	if (!strcmp(r->type, "commit") && !r->is_active)
		return request_refuse_made(target, r,
					   refusal ? refusal : request_take_speed(args, r));
	return refusal ? refusal : request_refuse_made(target, r, request_take_speed(args, r));
}

struct json_object *control_request_take_rest(struct control_target *target,
					      struct json_object *args, struct control_request *r)
{
	struct json_object *refusal = request_take_on_error(args, r);

	if (!refusal)
		refusal = request_take_filter_and_speed(target, args, r);
	if (refusal)
		return refusal;
	request_take_verify(args, r);
	r->auto_dismiss = true;
	r->auto_finalize = !(r->o.flags & BPULL_JOB_MANUAL_FINALIZE);
	control_boolean(args, "auto-dismiss", &r->auto_dismiss);
	control_boolean(args, "auto-finalize", &r->auto_finalize);
	r->o.flags &= ~(uint32_t)BPULL_JOB_MANUAL_FINALIZE;
	/* One that is told to complete waits for that. */
	if (!r->auto_finalize || r->is_active)
		r->o.flags |= BPULL_JOB_MANUAL_FINALIZE;
	return NULL;
}

struct json_object *control_request_start(struct control_target *target,
					  const struct control_request *r)
{
	struct control_job *job = control_job_new(r->id);
	struct bpull_error error = { 0 };

	if (!job || !control_job_keep(job, &r->o)) {
		control_job_free(job);
		return control_refuse("GenericError", "out of memory");
	}
	if (bpull_job_start(target->disk, &r->o, &error)) {
		control_job_free(job);
		return control_refuse("GenericError", "%s", error.message);
	}
	job->type = r->type;
	job->is_active = r->is_active;
	job->auto_finalize = r->auto_finalize;
	job->auto_dismiss = r->auto_dismiss;
	job->on_error = r->o.on_error;
	control_job_begin(target, job);
	return control_ok(NULL);
}
