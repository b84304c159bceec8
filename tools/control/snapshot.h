/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Snapshots: a new overlay becomes the disk's image. What a request wants is
 * prepared first, without a change to anything, so that a transaction is done
 * whole or not at all.
 */
#ifndef TOOLS_CONTROL_SNAPSHOT_H
#define TOOLS_CONTROL_SNAPSHOT_H

#include <stdbool.h>

#include "tools/control/state/args.h"
#include "tools/control/state/target.h"

extern const struct control_arg control_snapshot_sync_args[], control_snapshot_args[];

/* One that is to be taken. */
struct control_snapshot {
	struct control_node node;   /* the overlay's name, path and format; path: the request's */
	struct control_node *added; /* the node that it is already, or NULL */
	bool is_there;              /* the image exists, with a link to the one below it */
};

/* Those of one transaction, each on the one before. Begin with zeros, with room for all in the
 * list. */
struct control_snapshots {
	struct control_snapshot *list;
	unsigned n;
};

/* Of checked arguments of blockdev-snapshot-sync, and of blockdev-snapshot: puts one more into the
 * list. A refusal, or NULL. */
struct json_object *control_snapshot_prepare_sync(const struct control_target *target,
						  struct json_object *args,
						  struct control_snapshots *taken);
struct json_object *control_snapshot_prepare(const struct control_target *target,
					     struct json_object *args,
					     struct control_snapshots *taken);
/* Takes those that were prepared, of which there may be none. A refusal, after which nothing has
 * changed, or NULL. */
struct json_object *control_snapshot_take(struct control_target *target,
					  const struct control_snapshots *taken);

/* The verbs. */
struct json_object *control_blockdev_snapshot_sync(struct control_target *target,
						   struct json_object *args);
struct json_object *control_blockdev_snapshot(struct control_target *target,
					      struct json_object *args);

#endif
