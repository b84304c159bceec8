/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control socket's verbs: one value in, one object out. Names, members,
 * sentences and error classes are QMP's (QEMU docs/interop/qmp-spec), so that
 * what drives QEMU's jobs drives these; what QMP has no word for begins with
 * "x-". One disk is served: so a request may leave out which job it means.
 */
#include "tools/control/verbs.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/control/args.h"
#include "tools/control/events.h"
#include "tools/control/jobs.h"
#include "tools/control/nodes.h"
#include "tools/control/queries.h"
#include "tools/control/start.h"

/* Which of QEMU's two families a verb is of: they name the job differently, and a missing one
 * too. */
enum family {
	OF_BLOCK_JOBS, /* block-job-*: DeviceNotActive */
	OF_JOBS,       /* job-*: GenericError */
};

static struct json_object *verbs_negotiate(bool *negotiated, struct json_object *args)
{
	static const struct control_arg list[] = { { "enable", CONTROL_WORDS, false }, { 0 } };
	struct json_object *refusal = control_check_args(list, args), *enable;

	if (refusal)
		return refusal;
	if (*negotiated)
		return control_refuse(
			"CommandNotFound",
			"Capabilities negotiation is already complete, command ignored");
	if (args && json_object_object_get_ex(args, "enable", &enable) &&
	    json_object_array_length(enable))
		return control_refuse("GenericError", "Capability '%.100s' is not available",
				      json_object_get_string(json_object_array_get_idx(enable, 0)));
	*negotiated = true;
	return control_ok(NULL);
}

/* ---- verbs for a job ---- */

static struct json_object *verbs_not_found(enum family family, const char *name)
{
	if (family == OF_JOBS)
		return control_refuse("GenericError", "Job not found");
	return control_refuse("DeviceNotActive", "Block job '%.200s' not found", name);
}

static const char *verbs_job_name(struct json_object *args)
{
	const char *name = control_text(args, "device");

	return name ? name : control_text(args, "id");
}

/* The job that the request means, or its refusal: one of the two is NULL. Without a name it is the
 * one that has not ended, or the latest. */
static struct control_job *verbs_find(struct control_target *target, struct json_object *args,
				      enum family family, struct json_object **refusal)
{
	const char *name = verbs_job_name(args);
	struct control_job *job = name             ? control_job_find(target, name)
				  : target->active ? target->active
						   : target->jobs;

	control_job_look(target);
	*refusal = job ? NULL : verbs_not_found(family, name ? name : target->device);
	return job;
}

/* QEMU's table: which verb a job takes in which state. */
static struct json_object *verbs_check_verb(const struct control_job *job, const char *verb)
{
	bool is_alive = !strcmp(job->status, "running") || !strcmp(job->status, "paused");
	bool is_pending = !strcmp(job->status, "pending");
	bool may;

	if (!strcmp(verb, "cancel"))
		may = is_alive || is_pending;
	else if (!strcmp(verb, "finalize"))
		may = is_pending;
	else if (!strcmp(verb, "dismiss"))
		may = !strcmp(job->status, "concluded");
	else
		may = is_alive && strcmp(verb, "complete") != 0;
	if (may)
		return NULL;
	return control_refuse("GenericError",
			      "Job '%.200s' in state '%s' cannot accept command verb '%s'", job->id,
			      job->status, verb);
}

/* It ended, or began to, after it was looked at: its event is on the way. */
static struct json_object *verbs_answer_of(const struct control_job *job, int rc)
{
	return rc ? control_refuse("GenericError", "Job '%.200s' is ending", job->id)
		  : control_ok(NULL);
}

static struct json_object *verbs_set_speed(struct control_target *target, struct control_job *job,
					   struct json_object *args)
{
	struct json_object *refusal = verbs_check_verb(job, "set-speed");
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
	return verbs_answer_of(job, bpull_job_set_speed(target->disk, speed, 0));
}

static struct json_object *verbs_pause_job(struct control_target *target, struct control_job *job,
					   struct json_object *args)
{
	struct json_object *refusal = verbs_check_verb(job, "pause");
	int rc;

	(void)args;
	if (refusal)
		return refusal;
	if (job->is_user_paused)
		return control_refuse("GenericError", "Job is already paused");
	rc = bpull_job_pause(target->disk);
	job->is_user_paused = !rc;
	job->is_resuming = false;
	return verbs_answer_of(job, rc);
}

static struct json_object *verbs_resume_job(struct control_target *target, struct control_job *job,
					    struct json_object *args)
{
	int rc;

	(void)args;
	if (!job->is_user_paused || job != target->active)
		return control_refuse("GenericError", "Can't resume a job that was not paused");
	rc = bpull_job_resume(target->disk);
	if (!rc)
		control_job_resumed(target, job);
	return verbs_answer_of(job, rc);
}

static struct json_object *verbs_cancel_job(struct control_target *target, struct control_job *job,
					    struct json_object *args)
{
	struct json_object *refusal = verbs_check_verb(job, "cancel");

	(void)args;
	if (refusal)
		return refusal;
	if (job->is_held) {
		control_job_release(target, job, false);
		return control_ok(NULL);
	}
	return verbs_answer_of(job, bpull_job_abort(target->disk));
}

static struct json_object *verbs_cancel_block_job(struct control_target *target,
						  struct control_job *job, struct json_object *args)
{
	bool force = false;

	control_boolean(args, "force", &force);
	if (job->is_user_paused && job == target->active && !force)
		return control_refuse("GenericError",
				      "The block job for device '%.200s' is currently paused",
				      job->id);
	return verbs_cancel_job(target, job, args);
}

static struct json_object *verbs_finalize_job(struct control_target *target,
					      struct control_job *job, struct json_object *args)
{
	struct json_object *refusal = verbs_check_verb(job, "finalize");

	(void)args;
	if (refusal)
		return refusal;
	if (job->is_held) {
		control_job_release(target, job, true);
		return control_ok(NULL);
	}
	return verbs_answer_of(job, bpull_job_finalize(target->disk));
}

static struct json_object *verbs_complete_job(struct control_target *target,
					      struct control_job *job, struct json_object *args)
{
	(void)target;
	(void)args;
	return verbs_check_verb(job, "complete"); /* a stream job is never ready for that */
}

static struct json_object *verbs_dismiss_job(struct control_target *target, struct control_job *job,
					     struct json_object *args)
{
	struct json_object *refusal = verbs_check_verb(job, "dismiss");

	(void)args;
	if (refusal)
		return refusal;
	control_job_dismiss(target, job);
	return control_ok(NULL);
}

/* ---- the disk ---- */

/* A name that means another file than the image, or none. A refusal, or NULL. */
static struct json_object *verbs_check_image(const struct control_target *target,
					     struct json_object *args)
{
	const char *device = control_text(args, "device"), *name = control_text(args, "node-name");
	const struct control_node *node = NULL;
	uint32_t depth = 0;

	if (name)
		node = control_node_find(target, name, &depth);
	if ((!device || !strcmp(device, target->device)) && (!name || (node && !depth)))
		return NULL;
	if (node)
		return control_refuse("GenericError", "Block node is read-only");
	return control_refuse("GenericError", "Cannot find device='%.200s' nor node-name='%.200s'",
			      device ? device : "", name ? name : "");
}

static struct json_object *verbs_resize(struct control_target *target, struct json_object *args)
{
	struct json_object *refusal = verbs_check_image(target, args);
	struct bpull_error error = { 0 };
	int64_t size = -1;

	if (refusal)
		return refusal;
	control_integer(args, "size", &size);
	if (size < 0)
		return control_refuse("GenericError", "Parameter 'size' expects a >0 size");
	if (!target->resize)
		return control_refuse("GenericError",
				      "The users of this disk can't be told of another size");
	if (target->resize(target->owner, size, &error))
		return control_refuse("GenericError", "%s", error.message);
	if (target->n_nodes)
		target->nodes[0].virtual_size = size;
	return control_ok(NULL);
}

/* ---- the tables ---- */

static const struct control_arg no_args[] = { { 0 } };
static const struct control_arg nodes_args[] = { { "flat", CONTROL_BOOLEAN, false }, { 0 } };
static const struct control_arg stats_args[] = { { "query-nodes", CONTROL_BOOLEAN, false }, { 0 } };
static const struct control_arg resize_args[] = { { "device", CONTROL_TEXT, false },
						  { "node-name", CONTROL_TEXT, false },
						  { "size", CONTROL_INTEGER, true },
						  { 0 } };
static const struct control_arg device_args[] = { { "device", CONTROL_TEXT, false }, { 0 } };
static const struct control_arg id_args[] = { { "id", CONTROL_TEXT, false }, { 0 } };
static const struct control_arg cancel_args[] = { { "device", CONTROL_TEXT, false },
						  { "force", CONTROL_BOOLEAN, false },
						  { 0 } };
static const struct control_arg speed_args[] = { { "device", CONTROL_TEXT, false },
						 { "speed", CONTROL_INTEGER, true },
						 { 0 } };

static struct json_object *verbs_query_commands(struct control_target *target,
						struct json_object *args);

static const struct {
	const char *name;
	const struct control_arg *args;
	struct json_object *(*run)(struct control_target *target, struct json_object *args);
} verbs[] = {
	{ "block-stream", control_stream_args, control_block_stream },
	{ "block_resize", resize_args, verbs_resize },
	{ "query-block-jobs", no_args, control_query_block_jobs },
	{ "query-jobs", no_args, control_query_jobs },
	{ "query-named-block-nodes", nodes_args, control_query_nodes },
	{ "query-blockstats", stats_args, control_query_stats },
	{ "query-version", no_args, control_query_version },
	{ "query-commands", no_args, verbs_query_commands },
	{ "x-query-job", no_args, control_query_job },
};

static const struct {
	const char *name;
	enum family family;
	const struct control_arg *args;
	struct json_object *(*run)(struct control_target *target, struct control_job *job,
				   struct json_object *args);
} job_verbs[] = {
	{ "block-job-set-speed", OF_BLOCK_JOBS, speed_args, verbs_set_speed },
	{ "block-job-pause", OF_BLOCK_JOBS, device_args, verbs_pause_job },
	{ "block-job-resume", OF_BLOCK_JOBS, device_args, verbs_resume_job },
	{ "block-job-cancel", OF_BLOCK_JOBS, cancel_args, verbs_cancel_block_job },
	{ "block-job-complete", OF_BLOCK_JOBS, device_args, verbs_complete_job },
	{ "block-job-finalize", OF_BLOCK_JOBS, id_args, verbs_finalize_job },
	{ "block-job-dismiss", OF_BLOCK_JOBS, id_args, verbs_dismiss_job },
	{ "job-pause", OF_JOBS, id_args, verbs_pause_job },
	{ "job-resume", OF_JOBS, id_args, verbs_resume_job },
	{ "job-cancel", OF_JOBS, id_args, verbs_cancel_job },
	{ "job-complete", OF_JOBS, id_args, verbs_complete_job },
	{ "job-finalize", OF_JOBS, id_args, verbs_finalize_job },
	{ "job-dismiss", OF_JOBS, id_args, verbs_dismiss_job },
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void verbs_add_command(struct json_object *list, const char *name)
{
	struct json_object *object = json_object_new_object();

	control_add_text(object, "name", name);
	json_object_array_add(list, object);
}

static struct json_object *verbs_query_commands(struct control_target *target,
						struct json_object *args)
{
	struct json_object *list = json_object_new_array();

	(void)target;
	(void)args;
	verbs_add_command(list, "qmp_capabilities");
	for (size_t i = 0; i < COUNT(verbs); i++)
		verbs_add_command(list, verbs[i].name);
	for (size_t i = 0; i < COUNT(job_verbs); i++)
		verbs_add_command(list, job_verbs[i].name);
	return control_ok(list);
}

static struct json_object *verbs_run_verb(struct control_target *target, const char *verb,
					  struct json_object *args)
{
	struct json_object *refusal;

	for (size_t i = 0; i < COUNT(verbs); i++) {
		if (strcmp(verb, verbs[i].name))
			continue;
		refusal = control_check_args(verbs[i].args, args);
		if (!refusal)
			control_job_look(target);
		return refusal ? refusal : verbs[i].run(target, args);
	}
	for (size_t i = 0; i < COUNT(job_verbs); i++) {
		struct control_job *job;

		if (strcmp(verb, job_verbs[i].name))
			continue;
		refusal = control_check_args(job_verbs[i].args, args);
		if (refusal)
			return refusal;
		job = verbs_find(target, args, job_verbs[i].family, &refusal);
		return job ? job_verbs[i].run(target, job, args) : refusal;
	}
	return control_refuse("CommandNotFound", "The command %.100s has not been found", verb);
}

/* ---- a request ---- */

/* Of an object. A refusal, or NULL. */
static struct json_object *verbs_take_members(struct json_object *request, const char **verb,
					      struct json_object **args)
{
	json_object_object_foreach(request, key, value)
	{
		if (!strcmp(key, "execute")) {
			if (!json_object_is_type(value, json_type_string))
				return control_refuse(
					"GenericError",
					"QMP input member 'execute' must be a string");
			*verb = json_object_get_string(value);
		} else if (!strcmp(key, "arguments")) {
			if (!json_object_is_type(value, json_type_object))
				return control_refuse(
					"GenericError",
					"QMP input member 'arguments' must be an object");
			*args = value;
		} else if (strcmp(key, "id") != 0) {
			return control_refuse("GenericError",
					      "QMP input member '%.200s' is unexpected", key);
		}
	}
	return NULL;
}

/* A refusal, or NULL: then *verb and *args are the request's. */
static struct json_object *verbs_take_apart(struct json_object *request, const char **verb,
					    struct json_object **args)
{
	struct json_object *refusal;

	*args = NULL;
	*verb = NULL;
	if (!json_object_is_type(request, json_type_object))
		return control_refuse("GenericError", "QMP input must be a JSON object");
	refusal = verbs_take_members(request, verb, args);
	if (refusal || *verb)
		return refusal;
	return control_refuse("GenericError", "QMP input lacks member 'execute'");
}

struct json_object *control_answer(struct control_target *target, bool *negotiated,
				   struct json_object *request)
{
	struct json_object *args, *answer, *id;
	const char *verb;

	answer = verbs_take_apart(request, &verb, &args);
	if (!answer && !strcmp(verb, "qmp_capabilities"))
		answer = verbs_negotiate(negotiated, args);
	else if (!answer && !*negotiated)
		answer = control_refuse(
			"CommandNotFound",
			"Expecting capabilities negotiation with 'qmp_capabilities'");
	else if (!answer)
		answer = verbs_run_verb(target, verb, args);
	if (json_object_is_type(request, json_type_object) &&
	    json_object_object_get_ex(request, "id", &id))
		json_object_object_add(answer, "id", json_object_get(id));
	return answer;
}
