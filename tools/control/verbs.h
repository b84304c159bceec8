/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests and their answers. */
#ifndef TOOLS_CONTROL_VERBS_H
#define TOOLS_CONTROL_VERBS_H

#include <stdbool.h>

#include "tools/control/state/target.h"

/* The answer to one request (NULL: the JSON value null), never NULL but for want of memory.
 * *negotiated is the connection's. What follows from the request is in the target's events. */
struct json_object *control_answer(struct control_target *target, bool *negotiated,
				   struct json_object *request);

#endif
