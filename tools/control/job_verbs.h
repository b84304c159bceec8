/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests that change one job. */
#ifndef TOOLS_CONTROL_JOB_VERBS_H
#define TOOLS_CONTROL_JOB_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/control/state/target.h"

/* Answers a request with one of these verbs; the answer is never NULL but for want of memory.
 * False: the verb is none of these. */
bool control_job_verb(struct control_target *target, const char *verb, struct json_object *args,
		      struct json_object **answer);
/* The i-th verb; NULL behind the last. */
const char *control_job_verb_name(size_t i);

#endif
