/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What clients are told of nodes. */
#ifndef TOOLS_CONTROL_NODE_JSON_H
#define TOOLS_CONTROL_NODE_JSON_H

#include <json-c/json_object.h>

#include "tools/control/state/target.h"

/* query-named-block-nodes' list: the chain from the top down, then what clients have added, then
 * the files of all of these. is_flat: QEMU's argument, without which each tells its depth. */
struct json_object *control_nodes_describe(const struct control_target *target, bool is_flat);

#endif
