/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What verbs that start a job have in common. Each function returns a refusal, or NULL. */
#ifndef TOOLS_CONTROL_JOB_REQUEST_H
#define TOOLS_CONTROL_JOB_REQUEST_H

#include <stdbool.h>

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

/* The arguments that all of them have, behind the verb's own. */
#define CONTROL_JOB_ARGS                                                          \
	{ "speed", CONTROL_INTEGER, false }, { "on-error", CONTROL_TEXT, false }, \
		{ "filter-node-name", CONTROL_TEXT, false },                      \
		{ "x-verify", CONTROL_BOOLEAN, false },                           \
		{ "auto-finalize", CONTROL_BOOLEAN, false },                      \
	{                                                                         \
		"auto-dismiss", CONTROL_BOOLEAN, false                            \
	}

struct control_request {
	struct bpull_job_options o;
	const char *id;   /* the job's */
	const char *type; /* QMP's word; static */
	bool is_active;   /* a commit of the image itself */
	bool auto_finalize, auto_dismiss;
};

/* The disk can have a job now. `name` is the client's for it. */
struct json_object *control_request_check_disk(const struct control_target *target,
					       const char *name);
struct json_object *control_request_take_id(const struct control_target *target,
					    struct json_object *args, struct control_request *r);
/* Those of CONTROL_JOB_ARGS. */
struct json_object *control_request_take_rest(struct control_target *target,
					      struct json_object *args, struct control_request *r);
/* Starts it. The answer to the request, never NULL but for want of memory. */
struct json_object *control_request_start(struct control_target *target,
					  const struct control_request *r);

#endif
