/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Verbs of the control socket that only ask: each returns the whole answer. Their arguments were
 * checked. */
#ifndef TOOLS_CONTROL_QUERIES_H
#define TOOLS_CONTROL_QUERIES_H

#include "tools/control/state/target.h"

/* The first object of a connection. */
struct json_object *control_greeting(void);

struct json_object *control_query_block_jobs(struct control_target *target,
					     struct json_object *args);
struct json_object *control_query_jobs(struct control_target *target, struct json_object *args);
struct json_object *control_query_stats(struct control_target *target, struct json_object *args);
struct json_object *control_query_block(struct control_target *target, struct json_object *args);
struct json_object *control_query_nodes(struct control_target *target, struct json_object *args);
/* x-query-job */
struct json_object *control_query_job(struct control_target *target, struct json_object *args);
/* x-query-servers */
struct json_object *control_query_servers(struct control_target *target, struct json_object *args);
struct json_object *control_query_version(struct control_target *target, struct json_object *args);

#endif
