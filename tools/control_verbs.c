/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control socket's verbs: one line in, one object out, no socket and no
 * state but the target's. Names, members and error classes are QMP's (QEMU
 * docs/interop/qmp-spec), so that what drives QEMU's jobs drives these; what
 * QMP has no word for begins with "x-".
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control.h"

#define MAX_DEPTH 16

/* ---- answers ---- */

static struct json_object *ok(struct json_object *value)
{
	struct json_object *answer = json_object_new_object();

	json_object_object_add(answer, "return", value ? value : json_object_new_object());
	return answer;
}

__attribute__((format(printf, 2, 3))) static struct json_object *refuse(const char *class,
									const char *format, ...)
{
	struct json_object *answer = json_object_new_object(), *error = json_object_new_object();
	char text[1200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_object_object_add(error, "class", json_object_new_string(class));
	json_object_object_add(error, "desc", json_object_new_string(text));
	json_object_object_add(answer, "error", error);
	return answer;
}

void control_add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

void control_add_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

void control_add_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

static struct json_object *version(void)
{
	struct json_object *object = json_object_new_object(), *numbers = json_object_new_object();

	json_object_object_add(numbers, "major", json_object_new_int(BPULL_VERSION_MAJOR));
	json_object_object_add(numbers, "minor", json_object_new_int(BPULL_VERSION_MINOR));
	json_object_object_add(numbers, "micro", json_object_new_int(BPULL_VERSION_PATCH));
	json_object_object_add(object, "qemu", numbers);
	control_add_text(object, "package", "blockpull");
	return object;
}

struct json_object *control_greeting(void)
{
	struct json_object *greeting = json_object_new_object(), *qmp = json_object_new_object();

	json_object_object_add(qmp, "version", version());
	json_object_object_add(qmp, "capabilities", json_object_new_array());
	json_object_object_add(greeting, "QMP", qmp);
	return greeting;
}

/* ---- the job ---- */

struct bpull_job_info control_job_info(const struct control_target *target)
{
	struct bpull_job_info info = target->last;

	if (target->disk)
		bpull_job_get_info(target->disk, &info);
	return info;
}

static bool is_active(const struct bpull_job_info *info)
{
	return info->type != BPULL_JOB_TYPE_UNKNOWN && info->state != BPULL_JOB_CONCLUDED;
}

/* QMP's JobStatus. */
const char *control_status_word(const struct bpull_job_info *info)
{
	switch (info->state) {
	case BPULL_JOB_NONE: return "null";
	case BPULL_JOB_RUNNING: return "running";
	case BPULL_JOB_PAUSED: return "paused";
	case BPULL_JOB_WAITING: return "pending";
	case BPULL_JOB_STOPPING: return "waiting";
	case BPULL_JOB_CONCLUDED: return "concluded";
	}
	return "undefined";
}

static const char *io_status(const struct bpull_job_info *info)
{
	if (!info->stop_error)
		return "ok";
	return info->stop_error == -ENOSPC || info->stop_error == -EDQUOT ? "nospace" : "failed";
}

static struct json_object *describe_block_job(const struct control_target *target,
					      const struct bpull_job_info *info)
{
	struct json_object *job = json_object_new_object();

	control_add_text(job, "type", "stream");
	control_add_text(job, "device", target->device);
	control_add_number(job, "len", info->end);
	control_add_number(job, "offset", info->cur);
	control_add_bool(job, "busy", info->state == BPULL_JOB_RUNNING);
	control_add_bool(job, "paused", info->state == BPULL_JOB_PAUSED);
	control_add_number(job, "speed", info->bandwidth);
	control_add_text(job, "io-status", io_status(info));
	control_add_bool(job, "ready", info->state == BPULL_JOB_WAITING);
	control_add_text(job, "status", control_status_word(info));
	control_add_bool(job, "auto-finalize", !(target->job.flags & BPULL_JOB_MANUAL_FINALIZE));
	control_add_bool(job, "auto-dismiss", false);
	control_add_number(job, "x-copied", info->copied_bytes);
	control_add_number(job, "x-zero", info->zero_bytes);
	control_add_number(job, "x-skipped", info->skipped_bytes);
	control_add_number(job, "x-present", info->present_bytes);
	control_add_number(job, "x-verified", info->verified_bytes);
	control_add_number(job, "x-elapsed-ns", info->elapsed_ns);
	if (target->error[0])
		control_add_text(job, "error", target->error);
	return job;
}

static struct json_object *query_block_jobs(struct control_target *target)
{
	struct bpull_job_info info = control_job_info(target);
	struct json_object *list = json_object_new_array();

	if (info.type != BPULL_JOB_TYPE_UNKNOWN)
		json_object_array_add(list, describe_block_job(target, &info));
	return ok(list);
}

static struct json_object *query_jobs(struct control_target *target)
{
	struct bpull_job_info info = control_job_info(target);
	struct json_object *list = json_object_new_array(), *job;

	if (info.type == BPULL_JOB_TYPE_UNKNOWN)
		return ok(list);
	job = json_object_new_object();
	control_add_text(job, "id", target->device);
	control_add_text(job, "type", "stream");
	control_add_text(job, "status", control_status_word(&info));
	control_add_number(job, "current-progress", info.cur);
	control_add_number(job, "total-progress", info.end);
	if (target->error[0])
		control_add_text(job, "error", target->error);
	json_object_array_add(list, job);
	return ok(list);
}

/* ---- arguments ---- */

/* The member as text; NULL: not there, or no text (then *wrong). */
static const char *text_of(struct json_object *args, const char *key, bool *wrong)
{
	struct json_object *value;

	if (!json_object_object_get_ex(args, key, &value))
		return NULL;
	*wrong |= !json_object_is_type(value, json_type_string);
	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

/* False: there, and no number of bytes. */
static bool size_of(struct json_object *args, const char *key, uint64_t *out)
{
	struct json_object *value;

	if (!json_object_object_get_ex(args, key, &value))
		return true;
	if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
		return false;
	*out = json_object_get_uint64(value);
	return true;
}

static bool bool_of(struct json_object *args, const char *key, bool *out)
{
	struct json_object *value;

	if (!json_object_object_get_ex(args, key, &value))
		return true;
	*out = json_object_get_boolean(value);
	return json_object_is_type(value, json_type_boolean);
}

/* A refusal where the arguments name another job, or none runs; NULL: go on. */
static struct json_object *check_job(struct control_target *target, struct json_object *args,
				     bool must_run)
{
	struct bpull_job_info info = control_job_info(target);
	bool wrong = false;
	const char *name = text_of(args, "device", &wrong);

	if (!name)
		name = text_of(args, "id", &wrong);
	if (wrong)
		return refuse("GenericError",
			      "Invalid parameter type for 'device', expected: string");
	if (name && strcmp(name, target->device))
		return refuse("DeviceNotActive", "Block job '%.200s' not found", name);
	if (must_run && (!target->disk || !is_active(&info)))
		return refuse("DeviceNotActive", "No block job is running on '%.200s'",
			      target->device);
	return NULL;
}

/* ---- verbs ---- */

static struct json_object *block_stream(struct control_target *target, struct json_object *args)
{
	struct bpull_job_options o = target->job;
	struct json_object *refusal = check_job(target, args, false);
	struct bpull_error error = { 0 };
	bool wrong = false, auto_finalize = !(o.flags & BPULL_JOB_MANUAL_FINALIZE);
	const char *on_error = text_of(args, "on-error", &wrong);
	const char *base = text_of(args, "base", &wrong);

	if (refusal)
		return refusal;
	if (!target->disk)
		return refuse("GenericError", "The disk is closed");
	if (wrong || !size_of(args, "speed", &o.bandwidth) ||
	    !bool_of(args, "auto-finalize", &auto_finalize))
		return refuse("GenericError", "An argument has the wrong type");
	if (on_error && !strcmp(on_error, "stop"))
		o.on_error = BPULL_ON_ERROR_STOP;
	else if (on_error && !strcmp(on_error, "enospc"))
		o.on_error = BPULL_ON_ERROR_ENOSPC;
	else if (on_error && strcmp(on_error, "report"))
		return refuse("GenericError", "on-error is report, stop or enospc");
	o.flags &= ~(uint32_t)BPULL_JOB_MANUAL_FINALIZE;
	if (!auto_finalize)
		o.flags |= BPULL_JOB_MANUAL_FINALIZE;
	o.base = base ? base : o.base;
	if (bpull_job_start(target->disk, &o, &error))
		return refuse("GenericError", "%s", error.message);
	target->error[0] = 0;
	return ok(NULL);
}

static struct json_object *set_speed(struct control_target *target, struct json_object *args)
{
	struct json_object *refusal = check_job(target, args, true);
	uint64_t speed = UINT64_MAX;

	if (refusal)
		return refusal;
	if (!size_of(args, "speed", &speed) || speed == UINT64_MAX)
		return refuse("GenericError",
			      "Parameter 'speed' is missing, or not a number of bytes a second");
	bpull_job_set_speed(target->disk, speed, 0);
	return ok(NULL);
}

static struct json_object *on_running(struct control_target *target, struct json_object *args,
				      int (*verb)(struct bpull_disk *disk), const char *failure)
{
	struct json_object *refusal = check_job(target, args, true);

	if (refusal)
		return refusal;
	return verb(target->disk) ? refuse("GenericError", "%s", failure) : ok(NULL);
}

static struct json_object *pause_job(struct control_target *target, struct json_object *args)
{
	return on_running(target, args, bpull_job_pause, "The job is over");
}

static struct json_object *resume_job(struct control_target *target, struct json_object *args)
{
	return on_running(target, args, bpull_job_resume, "The job is over");
}

static struct json_object *cancel_job(struct control_target *target, struct json_object *args)
{
	return on_running(target, args, bpull_job_abort, "The job is over");
}

static struct json_object *finalize_job(struct control_target *target, struct json_object *args)
{
	return on_running(target, args, bpull_job_finalize, "The job is not ready to be finalized");
}

static struct json_object *dismiss_job(struct control_target *target, struct json_object *args)
{
	struct json_object *refusal = check_job(target, args, false);
	struct bpull_job_info info = control_job_info(target);

	if (refusal)
		return refusal;
	if (info.state != BPULL_JOB_CONCLUDED)
		return refuse("GenericError", "The job is not concluded");
	return ok(NULL); /* its result stays readable until the next one starts */
}

static struct json_object *query_block_jobs_verb(struct control_target *target,
						 struct json_object *args)
{
	(void)args;
	return query_block_jobs(target);
}

static struct json_object *query_jobs_verb(struct control_target *target, struct json_object *args)
{
	(void)args;
	return query_jobs(target);
}

static struct json_object *query_version(struct control_target *target, struct json_object *args)
{
	(void)target;
	(void)args;
	return ok(version());
}

static struct json_object *query_commands(struct control_target *target, struct json_object *args);

static const struct verb {
	const char *name;
	struct json_object *(*run)(struct control_target *target, struct json_object *args);
} verbs[] = {
	{ "block-stream", block_stream },   { "query-block-jobs", query_block_jobs_verb },
	{ "query-jobs", query_jobs_verb },  { "block-job-set-speed", set_speed },
	{ "job-pause", pause_job },         { "block-job-pause", pause_job },
	{ "job-resume", resume_job },       { "block-job-resume", resume_job },
	{ "block-job-cancel", cancel_job }, { "job-cancel", cancel_job },
	{ "job-finalize", finalize_job },   { "block-job-finalize", finalize_job },
	{ "job-dismiss", dismiss_job },     { "block-job-dismiss", dismiss_job },
	{ "query-version", query_version }, { "query-commands", query_commands },
};

static struct json_object *query_commands(struct control_target *target, struct json_object *args)
{
	struct json_object *list = json_object_new_array();

	(void)target;
	(void)args;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		struct json_object *name = json_object_new_object();

		control_add_text(name, "name", verbs[i].name);
		json_object_array_add(list, name);
	}
	return ok(list);
}

/* ---- a line ---- */

static struct json_object *parse(const char *line, size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
	struct json_object *request = NULL;

	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	if (!memchr(line, 0, len))
		request = json_tokener_parse_ex(tokener, line, (int)len);
	if (request && (json_tokener_get_error(tokener) != json_tokener_success ||
			json_tokener_get_parse_end(tokener) != len)) {
		json_object_put(request);
		request = NULL;
	}
	json_tokener_free(tokener);
	return request;
}

static struct json_object *run(struct control_target *target, bool *negotiated,
			       struct json_object *request)
{
	struct json_object *name, *args = NULL;
	const char *verb;

	if (!json_object_is_type(request, json_type_object))
		return refuse("GenericError", "QMP input must be a JSON object");
	if (!json_object_object_get_ex(request, "execute", &name) ||
	    !json_object_is_type(name, json_type_string))
		return refuse("GenericError", "QMP input lacks member 'execute'");
	if (json_object_object_get_ex(request, "arguments", &args) &&
	    !json_object_is_type(args, json_type_object))
		return refuse("GenericError", "QMP input member 'arguments' must be an object");
	verb = json_object_get_string(name);
	if (!strcmp(verb, "qmp_capabilities")) {
		*negotiated = true;
		return ok(NULL);
	}
	if (!*negotiated)
		return refuse("CommandNotFound",
			      "Expecting capabilities negotiation with 'qmp_capabilities'");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verb, verbs[i].name))
			return verbs[i].run(target, args);
	return refuse("CommandNotFound", "The command %.100s has not been found", verb);
}

struct json_object *control_answer(struct control_target *target, bool *negotiated,
				   const char *line, size_t len)
{
	struct json_object *request = parse(line, len), *answer, *id;

	if (!request)
		return refuse("GenericError", "JSON parse error");
	answer = run(target, negotiated, request);
	if (json_object_is_type(request, json_type_object) &&
	    json_object_object_get_ex(request, "id", &id))
		json_object_object_add(answer, "id", json_object_get(id));
	json_object_put(request);
	return answer;
}
