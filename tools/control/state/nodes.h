/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names for files: those of the chain, and those that clients add. */
#ifndef TOOLS_CONTROL_NODES_H
#define TOOLS_CONTROL_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/control/state/target.h"

/* Reads the chain's names, blocking; none are known where it can't be read. */
void control_nodes_open(struct control_target *target);
void control_nodes_close(struct control_target *target);

/* Any node of that name which is there; NULL: none. */
struct control_node *control_node_named(const struct control_target *target, const char *name);
/* The one of whose file alone this is the name; NULL: none. */
const struct control_node *control_node_of_file(const struct control_target *target,
						const char *name);
/* It is a file of the chain as that is now: *depth says which. */
bool control_node_is_in_chain(const struct control_target *target, const struct control_node *node,
			      uint32_t *depth);
/* It is, or a client added it: by its name it can be asked for. */
bool control_node_is_there(const struct control_target *target, const struct control_node *node);
/* A named one of the chain; NULL: there is none. */
const struct control_node *control_node_find(const struct control_target *target, const char *name,
					     uint32_t *depth);
/* The one at that depth of the chain; NULL: there is none, or it is not known. */
const struct control_node *control_node_at(const struct control_target *target, uint32_t depth);

/* A file of the chain, or of a node that was added, is opened by this name. */
bool control_path_is_used(const struct control_target *target, const char *path);

/* Takes from an image what is told of it. */
void control_node_look(struct control_node *node, const struct bpull_layer_info *layer);
/* A copy in no chain, which the target has from then on; its file gets a name if it has none. NULL:
 * no memory. */
struct control_node *control_node_add(struct control_target *target,
				      const struct control_node *node);
void control_node_remove(struct control_target *target, struct control_node *node);
/* It has become the image's, with what was the image's below it. */
void control_node_push(struct control_target *target, struct control_node *node);
/* The chain has changed: what is in it no more, and was not added by a client, is named no more. */
void control_nodes_settle(struct control_target *target);

#endif
