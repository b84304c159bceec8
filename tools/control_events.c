/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The job's events on the control socket, under QMP's names. Changes of state
 * that the library has no event for are found by looking, and told once.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "tools/control.h"

static struct json_object *new_event(const char *name, struct json_object *data)
{
	struct json_object *event = json_object_new_object(), *stamp = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	control_add_number(stamp, "seconds", now.tv_sec);
	control_add_number(stamp, "microseconds", now.tv_nsec / 1000);
	json_object_object_add(event, "timestamp", stamp);
	control_add_text(event, "event", name);
	json_object_object_add(event, "data", data);
	return event;
}

static struct json_object *job_data(const struct control_target *target,
				    const struct bpull_job_info *info)
{
	struct json_object *data = json_object_new_object();

	control_add_text(data, "device", target->device);
	control_add_text(data, "type", "stream");
	control_add_number(data, "len", info->end);
	control_add_number(data, "offset", info->cur);
	control_add_number(data, "speed", info->bandwidth);
	return data;
}

struct json_object *control_describe(struct control_target *target, const struct bpull_event *event)
{
	struct bpull_job_info info = control_job_info(target);
	struct json_object *data;

	if (event->type == BPULL_EVENT_JOB_STOPPED) {
		data = json_object_new_object();
		control_add_text(data, "device", target->device);
		control_add_text(data, "operation", info.stop_was_read ? "read" : "write");
		control_add_text(data, "action", "stop");
		control_add_text(data, "x-error", event->message);
		return new_event("BLOCK_JOB_ERROR", data);
	}
	if (event->type != BPULL_EVENT_JOB)
		return NULL;
	data = job_data(target, &info);
	switch (event->status) {
	case BPULL_JOB_COMPLETED: return new_event("BLOCK_JOB_COMPLETED", data);
	case BPULL_JOB_CANCELED: return new_event("BLOCK_JOB_CANCELLED", data);
	case BPULL_JOB_READY: return new_event("BLOCK_JOB_READY", data);
	case BPULL_JOB_FAILED: break;
	}
	snprintf(target->error, sizeof(target->error), "%s", event->message);
	control_add_text(data, "error", event->message);
	return new_event("BLOCK_JOB_COMPLETED", data);
}

struct json_object *control_status_change(struct control_target *target)
{
	struct bpull_job_info info = control_job_info(target);
	const char *word = control_status_word(&info);
	struct json_object *data;

	if (target->told ? !strcmp(word, target->told) : info.state == BPULL_JOB_NONE)
		return NULL;
	target->told = word;
	data = json_object_new_object();
	control_add_text(data, "id", target->device);
	control_add_text(data, "status", word);
	return new_event("JOB_STATUS_CHANGE", data);
}
