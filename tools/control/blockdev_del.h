/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockdev-del, and what a node is used for. */
#ifndef TOOLS_CONTROL_BLOCKDEV_DEL_H
#define TOOLS_CONTROL_BLOCKDEV_DEL_H

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

extern const struct control_arg control_blockdev_del_args[];

struct json_object *control_blockdev_del(struct control_target *target, struct json_object *args);

/* An image that was added has the node of this name as its file. */
bool control_file_is_used(const struct control_target *target, const char *name);
/* The node that was added with this one as its backing file; NULL: none. */
const struct control_node *control_node_said_above(const struct control_target *target,
						   const struct control_node *node);

#endif
