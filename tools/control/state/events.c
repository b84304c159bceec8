/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The job's events on the control socket, under QMP's names. They wait in a
 * list, so that the answer to the request that caused them goes first.
 */
#include "tools/control/state/events.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "tools/words/job_json.h"
#include "tools/words/text.h"

/* Names of files may hold any byte, JSON only UTF-8. */
void control_add_text(struct json_object *object, const char *key, const char *text)
{
	char *utf8 = text_utf8(text);

	json_object_object_add(object, key, utf8 ? json_object_new_string(utf8) : NULL);
	free(utf8);
}

void control_add_item(struct json_object *array, const char *text)
{
	char *utf8 = text_utf8(text);

	json_object_array_add(array, utf8 ? json_object_new_string(utf8) : NULL);
	free(utf8);
}

void control_add_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

void control_add_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

/* The library's end is never 0. A QEMU job that finds nothing to do says 0 of 0. */
void control_add_progress(struct json_object *object, const char *offset_key, const char *len_key,
			  const struct bpull_job_info *info)
{
	bool is_empty = info->cur == info->end &&
			!(info->copied_bytes | info->cloned_bytes | info->zero_bytes |
			  info->skipped_bytes | info->present_bytes);

	control_add_number(object, len_key, is_empty ? 0 : info->end);
	control_add_number(object, offset_key, is_empty ? 0 : info->cur);
}

static void tell(struct control_target *target, const char *name, struct json_object *data)
{
	struct json_object *event = json_object_new_object(), *stamp = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	control_add_number(stamp, "seconds", now.tv_sec);
	control_add_number(stamp, "microseconds", now.tv_nsec / 1000);
	json_object_object_add(event, "timestamp", stamp);
	control_add_text(event, "event", name);
	json_object_object_add(event, "data", data);
	if (!target->news)
		target->news = json_object_new_array();
	if (!target->news || json_object_array_add(target->news, event))
		json_object_put(event);
}

struct json_object *control_take_news(struct control_target *target)
{
	struct json_object *event;

	if (!target->news || !json_object_array_length(target->news))
		return NULL;
	event = json_object_get(json_object_array_get_idx(target->news, 0));
	json_object_array_del_idx(target->news, 0, 1);
	return event;
}

void control_tell_status(struct control_target *target, struct control_job *job, const char *status)
{
	struct json_object *data = json_object_new_object();

	job->status = status;
	control_add_text(data, "id", job->id);
	control_add_text(data, "status", status);
	tell(target, "JOB_STATUS_CHANGE", data);
}

void control_tell_end(struct control_target *target, const struct control_job *job,
		      const char *event, const char *error)
{
	struct json_object *data = json_object_new_object();
	struct json_object *progress = json_object_new_object();

	control_add_text(data, "device", job->id);
	control_add_text(data, "type", job->type);
	control_add_progress(data, "offset", "len", &job->end);
	control_add_number(data, "speed", job->end.bandwidth);
	if (error) {
		control_add_text(data, "error", error);
		control_add_number(data, "x-errno", -job->end.error);
	}
	/* A client that waits may not be able to ask later: the socket goes with the pull's
	 * process. */
	job_json_progress(progress, &job->end, &job->since);
	json_object_object_add(data, "x-progress", progress);
	if (job->lost && json_object_array_length(job->lost))
		json_object_object_add(data, "x-dropped", json_object_get(job->lost));
	tell(target, event, data);
}

void control_tell_ready(struct control_target *target, const struct control_job *job,
			const struct bpull_job_info *info)
{
	struct json_object *data = json_object_new_object();

	control_add_text(data, "device", job->id);
	control_add_text(data, "type", job->type);
	control_add_progress(data, "offset", "len", info);
	control_add_number(data, "speed", info->bandwidth);
	tell(target, "BLOCK_JOB_READY", data);
}

void control_tell_pending(struct control_target *target, const struct control_job *job)
{
	struct json_object *data = json_object_new_object();

	control_add_text(data, "type", job->type);
	control_add_text(data, "id", job->id);
	tell(target, "BLOCK_JOB_PENDING", data);
}

void control_tell_error(struct control_target *target, const struct control_job *job, bool was_read,
			const char *action, const char *message)
{
	struct json_object *data = json_object_new_object();

	control_add_text(data, "device", job->id);
	control_add_text(data, "operation", was_read ? "read" : "write");
	control_add_text(data, "action", action);
	control_add_text(data, "x-error", message);
	tell(target, "BLOCK_JOB_ERROR", data);
}
