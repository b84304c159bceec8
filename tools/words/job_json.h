/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job is, in the words of the command's JSON: `pull --json`, the control
 * socket's x-query-job and so `ctl --json` say the same with them. No output.
 */
#ifndef TOOLS_WORDS_JOB_JSON_H
#define TOOLS_WORDS_JOB_JSON_H

#include <stdint.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"

/* A moment from which a mean rate is reckoned; all zero: the job's start. */
struct job_since {
	uint64_t elapsed_ns, moved, worked, walked; /* as the job's numbers were then */
};

/* The moment that these numbers are of. */
struct job_since job_since(const struct bpull_job_info *info);

/* Seconds until a job is through that has still to pass to_walk bytes of the disk and to read at
 * most to_work, at these rates in bytes a second; negative: no rate is known. */
double job_seconds_by_bounds(uint64_t to_walk, double walked, uint64_t to_work, double worked);

/* "running", ... as bpull_job_state has them. Static. */
const char *job_state_word(enum bpull_job_state state);
/* "completed", "failed", "canceled". Static. */
const char *job_status_word(enum bpull_job_status status);

/* The caller puts them. */
struct json_object *job_json_bytes(const struct bpull_job_info *info);
struct json_object *job_json_seconds(double seconds); /* null where negative */
/* Adds state, cur, end, bandwidth and the other rates, bytes, seconds, rate and seconds-left to an
 * object. */
void job_json_progress(struct json_object *object, const struct bpull_job_info *info,
		       const struct job_since *since);

#endif
