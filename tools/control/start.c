/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is left out of a request is as the owner's defaults say: the plugin's
 * parameters hold for jobs that a client starts, too. Which files are pulled
 * is never guessed: a name that leads to none is refused.
 */
#include "tools/control/start.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/control/args.h"
#include "tools/control/jobs.h"
#include "tools/control/nodes.h"
#include "tools/control/suspend.h"

const struct control_arg control_stream_args[] = {
	{ "job-id", CONTROL_TEXT, false },
	{ "device", CONTROL_TEXT, false },
	{ "base", CONTROL_TEXT, false },
	{ "base-node", CONTROL_TEXT, false },
	{ "backing-file", CONTROL_TEXT, false },
	{ "bottom", CONTROL_TEXT, false },
	{ "speed", CONTROL_INTEGER, false },
	{ "on-error", CONTROL_TEXT, false },
	{ "filter-node-name", CONTROL_TEXT, false },
	{ "auto-finalize", CONTROL_BOOLEAN, false },
	{ "auto-dismiss", CONTROL_BOOLEAN, false },
	{ 0 },
};

struct request {
	struct bpull_job_options o;
	const char *id;
	bool auto_finalize, auto_dismiss;
};

static struct json_object *start_take_device(const struct control_target *target,
					     struct json_object *args)
{
	const char *device = control_text(args, "device");
	uint32_t depth = 0;

	if (!device || !strcmp(device, target->device) ||
	    (control_node_find(target, device, &depth) && !depth))
		return NULL;
	if (depth)
		return control_refuse("GenericError",
				      "Node '%.200s' is read-only: only '%.200s' is pulled into",
				      device, target->device);
	return control_refuse("GenericError", "Cannot find device='%.200s' nor node-name='%.200s'",
			      device, device);
}

static struct json_object *start_take_id(const struct control_target *target,
					 struct json_object *args, struct request *r)
{
	r->id = control_text(args, "job-id");
	if (!r->id)
		r->id = target->device;
	else if (strcmp(r->id, target->device) && !control_is_well_formed(r->id))
		return control_refuse("GenericError", "Invalid job ID '%.200s'", r->id);
	/* One that was not dismissed keeps the disk, with QEMU too. */
	if (target->jobs)
		return control_refuse(
			"GenericError",
			"Node '%.200s' is busy: block device is in use by block job: stream",
			target->device);
	return NULL;
}

/* QEMU's three ways to say where a pull ends; at most one is given. */
static struct json_object *start_take_base(const struct control_target *target,
					   struct json_object *args, struct request *r)
{
	static const char *const pairs[][2] = { { "base", "base-node" },
						{ "base", "bottom" },
						{ "bottom", "base-node" } };
	const char *base = control_text(args, "base"), *bottom = control_text(args, "bottom");
	const char *base_node = control_text(args, "base-node"), *name;
	const struct control_node *node = NULL;
	uint32_t depth = 0;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (control_text(args, pairs[i][0]) && control_text(args, pairs[i][1]))
			return control_refuse("GenericError",
					      "'%s' and '%s' cannot be specified at the same time",
					      pairs[i][0], pairs[i][1]);
	if (base)
		r->o.base = base;
	name = base_node ? base_node : bottom;
	if (!name)
		return NULL;
	node = control_node_find(target, name, &depth);
	if (!node)
		return control_refuse("GenericError",
				      "Cannot find device='' nor node-name='%.200s'", name);
	if (base_node && !depth)
		return control_refuse("GenericError",
				      "Node '%.200s' is not a backing image of '%.200s'", name,
				      target->device);
	if (bottom)
		node = control_node_at(target, depth + 1);
	/* Below the last file there is none to name, but no file may be overlooked either. */
	if (!node && depth + 1 < bpull_disk_depth(target->disk))
		return control_refuse("GenericError", "The node below '%.200s' is not known", name);
	r->o.base = node ? node->path : NULL;
	return NULL;
}

static struct json_object *start_take_on_error(struct json_object *args, struct request *r)
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

static struct json_object *start_take_rest(struct json_object *args, struct request *r)
{
	const char *backing_file = control_text(args, "backing-file");
	int64_t speed = 0;

	if (control_text(args, "filter-node-name"))
		return control_refuse("GenericError",
				      "Parameter 'filter-node-name' is not supported: there is no "
				      "filter node");
	if (backing_file && !r->o.base)
		return control_refuse("GenericError",
				      "backing file specified, but streaming the entire chain");
	r->o.base_name = backing_file;
	if (control_integer(args, "speed", &speed)) {
		if (speed < 0)
			return control_refuse("GenericError",
					      "Parameter 'speed' expects a non-negative value");
		r->o.bandwidth = speed;
		r->o.burst = 0;
	}
	r->auto_dismiss = true;
	r->auto_finalize = !(r->o.flags & BPULL_JOB_MANUAL_FINALIZE);
	control_boolean(args, "auto-dismiss", &r->auto_dismiss);
	control_boolean(args, "auto-finalize", &r->auto_finalize);
	r->o.flags &= ~(uint32_t)BPULL_JOB_MANUAL_FINALIZE;
	if (!r->auto_finalize)
		r->o.flags |= BPULL_JOB_MANUAL_FINALIZE;
	return NULL;
}

static struct json_object *start_job(struct control_target *target, const struct request *r)
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
	job->auto_finalize = r->auto_finalize;
	job->auto_dismiss = r->auto_dismiss;
	job->on_error = r->o.on_error;
	control_job_begin(target, job);
	return control_ok(NULL);
}

struct json_object *control_block_stream(struct control_target *target, struct json_object *args)
{
	struct request r = { .o = target->job };
	struct json_object *refusal = start_take_device(target, args);

	if (!refusal && !target->disk)
		refusal = control_refuse("GenericError", "The disk is closed");
	if (!refusal)
		refusal = control_refuse_inactive(target, NULL);
	if (!refusal)
		refusal = start_take_id(target, args, &r);
	if (!refusal)
		refusal = start_take_base(target, args, &r);
	if (!refusal)
		refusal = start_take_on_error(args, &r);
	if (!refusal)
		refusal = start_take_rest(args, &r);
	return refusal ? refusal : start_job(target, &r);
}
