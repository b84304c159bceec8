/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockdev-add: files that clients name, to put them on top of the disk later. */
#ifndef TOOLS_CONTROL_BLOCKDEV_H
#define TOOLS_CONTROL_BLOCKDEV_H

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

#define CONTROL_MAX_ADDED 64 /* nodes that clients have added */

/* Checks its arguments itself: which there may be depends on the driver. */
struct json_object *control_blockdev_add(struct control_target *target, struct json_object *args);

/* A refusal where a new node can't have this name (QMP's sentence), else NULL. */
struct json_object *control_refuse_name(const struct control_target *target, const char *name);
/* A refusal where clients may not have this file (NULL: any) made or opened, or, of the chain's,
 * written to below the image; else NULL. */
struct json_object *control_refuse_other(const struct control_target *target, const char *path,
					 bool write);
/* What a file looks like: fills all of *node but its name; node->path is the caller's still, and
 * taken as given. With a format that is wanted (UNKNOWN: any but raw). A refusal, or NULL. */
struct json_object *control_look_at(const struct control_target *target, const char *path,
				    enum bpull_format format, struct control_node *node);

#endif
