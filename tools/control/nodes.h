/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names for the files of the chain. */
#ifndef TOOLS_CONTROL_NODES_H
#define TOOLS_CONTROL_NODES_H

#include <stdint.h>

#include "tools/control/target.h"

/* Reads the chain's names, blocking; none are known where it can't be read. */
void control_nodes_open(struct control_target *target);
void control_nodes_close(struct control_target *target);
/* Its depth in the chain as it is now; NULL: no such node, or not in the chain any more. */
const struct control_node *control_node_find(const struct control_target *target, const char *name,
					     uint32_t *depth);
/* The next one below that depth; NULL: there is none. */
const struct control_node *control_node_below(const struct control_target *target, uint32_t depth);
/* query-named-block-nodes' list. */
struct json_object *control_nodes_describe(const struct control_target *target);

#endif
