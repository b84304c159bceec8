/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Rates are means since a moment that the caller moves where speed changes: a
 * socket is asked now and then, and a sliding mean would need a clock that
 * ticks all the time.
 *
 * The time left is what the library says. Where it says none, it is the smaller of
 * two bounds, of which neither is good alone. The bytes that the walk has still to
 * pass know the holes between data, but a pull that goes on after a stop rushes
 * through what it copied before. The bytes that are still to be read know that,
 * but not the holes ahead.
 */
#include "tools/words/job_json.h"

#include <stdio.h>

#include <json-c/json.h>

#define NEEDED_NS 100000000u /* less says nothing of a rate */

struct job_since job_since(const struct bpull_job_info *info)
{
	uint64_t moved = info->copied_bytes + info->cloned_bytes;

	return (struct job_since){
		.elapsed_ns = info->elapsed_ns,
		.moved = moved,
		.worked = moved + info->zero_bytes,
		.walked = info->cur > info->present_bytes ? info->cur - info->present_bytes : 0,
	};
}

/* Counters may fall: a run that failed takes back what it had told. */
static double job_json_mean(uint64_t now, uint64_t then, uint64_t ns)
{
	return now > then ? (now - then) / (ns / 1e9) : 0;
}

/* Guest bytes copied or cloned a second since then; negative: too early to say. */
static double rate_since(const struct bpull_job_info *info, const struct job_since *since)
{
	struct job_since now = job_since(info);
	uint64_t ns = now.elapsed_ns - since->elapsed_ns;

	if (info->state == BPULL_JOB_CONCLUDED) /* the job's as a whole, however short */
		return now.elapsed_ns ? job_json_mean(now.moved, 0, now.elapsed_ns) : 0;
	return ns < NEEDED_NS ? -1 : job_json_mean(now.moved, since->moved, ns);
}

double job_seconds_by_bounds(uint64_t to_walk, double walked, uint64_t to_work, double worked)
{
	double by_walk = walked >= 1 ? to_walk / walked : -1;
	double by_work = worked >= 1 ? to_work / worked : -1;

	if (by_walk < 0 || by_work < 0)
		return by_walk < 0 ? by_work : by_walk;
	return by_walk < by_work ? by_walk : by_work;
}

/* Seconds until the job is through, at the speed it had since then; negative: not known. */
static double seconds_left(const struct bpull_job_info *info, const struct job_since *since)
{
	struct job_since now = job_since(info);
	uint64_t ns = now.elapsed_ns - since->elapsed_ns;
	uint64_t settled = now.worked + info->present_bytes + info->skipped_bytes;
	uint64_t left = info->end > settled ? info->end - settled : 0;

	if (info->state == BPULL_JOB_CONCLUDED)
		return 0;
	if (info->left_ns) /* the library knows what lies ahead */
		return info->left_ns / 1e9;
	if (info->state == BPULL_JOB_PAUSED || info->state == BPULL_JOB_WAITING || ns < NEEDED_NS)
		return -1;
	return job_seconds_by_bounds(info->end - info->cur,
				     job_json_mean(now.walked, since->walked, ns), left,
				     job_json_mean(now.worked, since->worked, ns));
}

const char *job_state_word(enum bpull_job_state state)
{
	switch (state) {
	case BPULL_JOB_NONE: return "none";
	case BPULL_JOB_RUNNING: return "running";
	case BPULL_JOB_PAUSED: return "paused";
	case BPULL_JOB_WAITING: return "waiting";
	case BPULL_JOB_STOPPING: return "stopping";
	case BPULL_JOB_CONCLUDED: return "concluded";
	}
	return "unknown";
}

const char *job_status_word(enum bpull_job_status status)
{
	switch (status) {
	case BPULL_JOB_COMPLETED: return "completed";
	case BPULL_JOB_FAILED: return "failed";
	case BPULL_JOB_CANCELED: return "canceled";
	case BPULL_JOB_READY: break;
	}
	return "unknown";
}

static void job_json_add_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

struct json_object *job_json_bytes(const struct bpull_job_info *info)
{
	struct json_object *bytes = json_object_new_object();

	job_json_add_number(bytes, "copied", info->copied_bytes);
	job_json_add_number(bytes, "cloned", info->cloned_bytes);
	job_json_add_number(bytes, "zero", info->zero_bytes);
	job_json_add_number(bytes, "skipped", info->skipped_bytes);
	job_json_add_number(bytes, "present", info->present_bytes);
	job_json_add_number(bytes, "verified", info->verified_bytes);
	job_json_add_number(bytes, "source", info->source_bytes);
	job_json_add_number(bytes, "shared", info->shared_bytes);
	job_json_add_number(bytes, "past-cache", info->past_cache_bytes);
	return bytes;
}

struct json_object *job_json_seconds(double seconds)
{
	char text[32];

	if (seconds < 0)
		return NULL;
	snprintf(text, sizeof(text), "%.3f", seconds);
	return json_object_new_double_s(seconds, text);
}

/* What else was asked of its rate; null where nothing was. */
static void job_json_add_rates(struct json_object *object, const struct bpull_job_info *info)
{
	job_json_add_number(object, "limit", info->limit);
	job_json_add_number(object, "iops", info->iops);
	job_json_add_number(object, "requests", info->n_requests);
	job_json_add_number(object, "min-rate", info->min_rate);
	json_object_object_add(object, "within",
			       job_json_seconds(info->within_ns ? info->within_ns / 1e9 : -1));
	json_object_object_add(object, "needed-rate",
			       info->needed_rate ? json_object_new_uint64(info->needed_rate)
						 : NULL);
	job_json_add_number(object, "guest-p99-us", info->guest_p99_ns / 1000);
	job_json_add_number(object, "guest-p99-now-us", info->guest_p99_now_ns / 1000);
	json_object_object_add(object, "late", json_object_new_boolean(info->is_late));
}

void job_json_progress(struct json_object *object, const struct bpull_job_info *info,
		       const struct job_since *since)
{
	double rate = rate_since(info, since);

	json_object_object_add(object, "state",
			       json_object_new_string(job_state_word(info->state)));
	job_json_add_number(object, "cur", info->cur);
	job_json_add_number(object, "end", info->end);
	job_json_add_number(object, "bandwidth", info->bandwidth);
	job_json_add_rates(object, info);
	json_object_object_add(object, "bytes", job_json_bytes(info));
	json_object_object_add(object, "seconds", job_json_seconds(info->elapsed_ns / 1e9));
	json_object_object_add(object, "rate", rate < 0 ? NULL : json_object_new_uint64(rate));
	json_object_object_add(object, "seconds-left", job_json_seconds(seconds_left(info, since)));
}
