/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * In three steps: find which image the request means, and that it is the disk's uppermost by then;
 * take the overlay's name, format and file; then, for all that were prepared, one call of the
 * library. A transaction prepares each snapshot as if those before it were taken already, so what
 * is taken here stands beside the nodes that there are. A node of the control socket is made
 * before the disk changes, as nothing may fail behind that.
 */
#include "tools/control/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/blockdev.h"
#include "tools/control/blockdev_del.h"
#include "tools/control/job_request.h"
#include "tools/control/state/nodes.h"

static const char *const mode_words[] = { "existing", "absolute-paths", NULL };

const struct control_arg control_snapshot_sync_args[] = {
	{ "device", CONTROL_TEXT, false },
	{ "node-name", CONTROL_TEXT, false },
	{ "snapshot-file", CONTROL_TEXT, true },
	{ "snapshot-node-name", CONTROL_TEXT, false },
	{ "format", CONTROL_TEXT, false },
	{ "mode", CONTROL_TEXT, false, mode_words },
	{ 0 },
};
const struct control_arg control_snapshot_args[] = { { "node", CONTROL_TEXT, true },
						     { "overlay", CONTROL_TEXT, true },
						     { 0 } };

/* ---- what is snapshot ---- */

static struct json_object *snapshot_busy(const char *name, const char *above)
{
	return control_refuse("GenericError",
			      "Node '%.200s' is busy: node is used as backing hd of '%.200s'", name,
			      above);
}

static const struct control_snapshot *snapshot_last(const struct control_snapshots *taken)
{
	return taken->n ? &taken->list[taken->n - 1] : NULL;
}

static const struct control_snapshot *snapshot_taken(const struct control_snapshots *taken,
						     const char *name)
{
	for (unsigned i = 0; i < taken->n; i++)
		if (!strcmp(taken->list[i].node.name, name))
			return &taken->list[i];
	return NULL;
}

/* One that the transaction takes: the last one will be the disk's image. */
static struct json_object *snapshot_check_taken(const struct control_target *target,
						const struct control_snapshots *taken,
						const struct control_snapshot *one)
{
	const struct control_node *above = NULL;

	if (one != snapshot_last(taken))
		above = &one[1].node;
	else if (one->added)
		above = control_node_said_above(target, one->added);
	return above ? snapshot_busy(one->node.name, above->name) : NULL;
}

/* One of the chain, or of those that clients have added, must be the disk's image. */
static struct json_object *snapshot_check_node(const struct control_target *target,
					       const struct control_node *node,
					       const struct control_snapshots *taken)
{
	const struct control_node *above;
	uint32_t depth;

	if (!control_node_is_in_chain(target, node, &depth))
		return control_refuse("GenericError",
				      "Node '%s' is not the disk's: only '%s' can be snapshot",
				      node->name, target->top ? target->top->name : "");
	above = depth ? control_node_at(target, depth - 1) : control_node_said_above(target, node);
	if (!above && taken->n)
		above = &taken->list[0].node;
	return above ? snapshot_busy(node->name, above->name) : NULL;
}

/* The disk can be snapshot now. `name` is the client's for it. */
static struct json_object *snapshot_check_disk(const struct control_target *target,
					       const char *name)
{
	struct json_object *refusal = control_refuse_other(target, NULL, false);

	return refusal ? refusal : control_request_check_disk(target, name);
}

/* QEMU's way to find a node by either name; both may be NULL. */
static struct json_object *snapshot_find(const struct control_target *target, const char *device,
					 const char *name, const struct control_snapshots *taken)
{
	const struct control_node *node = name ? control_node_named(target, name) : NULL;
	const struct control_snapshot *one = name ? snapshot_taken(taken, name) : NULL;
	struct json_object *refusal = NULL;

	if (device && !strcmp(device, target->device))
		name = device; /* the disk, whatever its image is by then */
	else if (one)
		refusal = snapshot_check_taken(target, taken, one);
	else if (node)
		refusal = snapshot_check_node(target, node, taken);
	else
		refusal = control_refuse("GenericError",
					 "Cannot find device='%.200s' nor node-name='%.200s'",
					 device ? device : "", name ? name : "");
	return refusal ? refusal : snapshot_check_disk(target, name);
}

/* ---- the new overlay ---- */

/* A name like those of the first chain, of a number that none had. */
static void snapshot_make_name(const struct control_target *target,
			       const struct control_snapshots *taken, char *name)
{
	unsigned i = 0;

	do
		snprintf(name, CONTROL_NODE_NAME_CAP, "#layer%u", i++);
	while (control_node_named(target, name) || snapshot_taken(taken, name));
}

static struct json_object *snapshot_take_name(const struct control_target *target,
					      struct json_object *args,
					      const struct control_snapshots *taken,
					      struct control_snapshot *snapshot)
{
	const char *name = control_text(args, "snapshot-node-name");
	struct json_object *refusal;

	if (!name && control_text(args, "node-name"))
		return control_refuse("GenericError", "New overlay node-name missing");
	if (!name) {
		snapshot_make_name(target, taken, snapshot->node.name);
		return NULL;
	}
	if (control_node_named(target, name) || snapshot_taken(taken, name))
		return control_refuse("GenericError", "New overlay node-name already in use");
	refusal = control_refuse_name(target, name);
	if (!refusal)
		snprintf(snapshot->node.name, sizeof(snapshot->node.name), "%s", name);
	return refusal;
}

static struct json_object *snapshot_take_format(struct json_object *args,
						struct control_snapshot *snapshot)
{
	const char *format = control_text(args, "format");

	snapshot->node.format = format ? bpull_format_by_name(format) : BPULL_FORMAT_QCOW2;
	if (snapshot->node.format == BPULL_FORMAT_UNKNOWN)
		return control_refuse("GenericError", "Unknown file format '%.200s'", format);
	if (snapshot->node.format != BPULL_FORMAT_RAW)
		return NULL;
	return control_refuse("GenericError",
			      snapshot->is_there ? "The overlay does not support backing images"
						 : "Backing file not supported for file "
						   "format 'raw'");
}

struct json_object *control_snapshot_prepare_sync(const struct control_target *target,
						  struct json_object *args,
						  struct control_snapshots *taken)
{
	struct control_snapshot *snapshot = &taken->list[taken->n];
	const char *mode = control_text(args, "mode");
	struct json_object *refusal;

	*snapshot = (struct control_snapshot){
		.node.path = (char *)control_text(args, "snapshot-file"),
		.is_there = mode && !strcmp(mode, "existing"),
	};
	refusal = snapshot_find(target, control_text(args, "device"),
				control_text(args, "node-name"), taken);
	if (!refusal)
		refusal = snapshot_take_name(target, args, taken, snapshot);
	if (!refusal)
		refusal = snapshot_take_format(args, snapshot);
	if (!refusal)
		refusal = control_refuse_other(target, snapshot->node.path, false);
	if (!refusal && snapshot->is_there)
		refusal = control_look_at(target, snapshot->node.path, snapshot->node.format,
					  &snapshot->node);
	taken->n += !refusal;
	return refusal;
}

static struct json_object *snapshot_take_overlay(const struct control_target *target,
						 const char *name,
						 const struct control_snapshots *taken,
						 struct control_snapshot *snapshot)
{
	struct control_node *overlay = control_node_named(target, name);
	uint32_t depth;

	if (snapshot_taken(taken, name))
		return control_refuse("GenericError", "The overlay is already in use");
	if (!overlay)
		return control_refuse("GenericError",
				      "Cannot find device='%.200s' nor node-name='%.200s'", name,
				      name);
	if (control_node_is_in_chain(target, overlay, &depth))
		return control_refuse("GenericError", "The overlay is already in use");
	if (overlay->has_backing)
		return control_refuse("GenericError", "The overlay already has a backing image");
	if (overlay->format == BPULL_FORMAT_RAW || overlay->format == BPULL_FORMAT_UNKNOWN)
		return control_refuse("GenericError",
				      "The overlay does not support backing images");
	if (overlay->is_read_only)
		return control_refuse("GenericError", "Block node is read-only");
	snapshot->node = *overlay;
	snapshot->added = overlay;
	return NULL;
}

struct json_object *control_snapshot_prepare(const struct control_target *target,
					     struct json_object *args,
					     struct control_snapshots *taken)
{
	struct control_snapshot *snapshot = &taken->list[taken->n];
	const char *node = control_text(args, "node");
	struct json_object *refusal = snapshot_find(target, node, node, taken);

	*snapshot = (struct control_snapshot){ .is_there = true };
	if (!refusal)
		refusal = snapshot_take_overlay(target, control_text(args, "overlay"), taken,
						snapshot);
	taken->n += !refusal;
	return refusal;
}

/* ---- the deed ---- */

/* The snapshot whose file the library's sentence names. */
static const char *snapshot_blamed(const struct control_snapshots *taken, const char *message)
{
	const char *best = taken->list[0].node.path;
	size_t len = 0;

	for (unsigned i = 0; i < taken->n; i++) {
		const char *path = taken->list[i].node.path;

		if (strlen(path) > len && strstr(message, path)) {
			best = path;
			len = strlen(path);
		}
	}
	return best;
}

static struct json_object *snapshot_failed(const struct control_snapshots *taken, int rc,
					   const struct bpull_error *error)
{
	if (rc == -ENOENT || rc == -EACCES || rc == -ENOTDIR)
		return control_refuse("GenericError", "Could not create '%.1000s': %s",
				      snapshot_blamed(taken, error->message), strerror(-rc));
	return control_refuse("GenericError", "%s", error->message);
}

/* One that is taken, as the library is asked for it, and its node. */
struct snapshot_order {
	struct bpull_create_options create;
	struct control_node *node;
};

static void snapshot_ask_for(const struct control_target *target,
			     const struct control_snapshot *one, struct snapshot_order *order,
			     struct bpull_snapshot *what)
{
	order->create = (struct bpull_create_options){ .size = sizeof(order->create),
						       .format = one->node.format };
	*what = (struct bpull_snapshot){
		.size = sizeof(*what),
		.disk = target->disk,
		.path = one->node.path,
		.create = &order->create,
		.flags = one->is_there ? BPULL_SNAPSHOT_EXISTING : 0,
		.open_file = one->is_there ? target->others->open_file : NULL,
		.open_opaque = one->is_there ? target->others->open_opaque : NULL,
	};
}

static void snapshot_take_back(struct control_target *target, const struct control_snapshots *taken,
			       struct snapshot_order *orders)
{
	for (unsigned i = 0; i < taken->n; i++)
		if (orders[i].node && !taken->list[i].added)
			control_node_remove(target, orders[i].node);
}

/* The new images are the disk's now, and so are their nodes. */
static void snapshot_note(struct control_target *target, const struct control_snapshots *taken,
			  struct snapshot_order *orders)
{
	for (unsigned i = 0; i < taken->n; i++) {
		struct control_node *node = orders[i].node;

		if (!taken->list[i].is_there)
			json_object_put(control_look_at(target, node->path, node->format, node));
		control_node_push(target, node);
	}
	if (target->turns && target->turns->end)
		target->turns->end(target->owner, target->top);
}

static struct json_object *snapshot_take_all(struct control_target *target,
					     const struct control_snapshots *taken,
					     struct snapshot_order *orders,
					     struct bpull_snapshot *what)
{
	struct bpull_error error = { 0 };
	int rc;

	/* Their places are there before the disk changes. */
	for (unsigned i = 0; i < taken->n; i++) {
		const struct control_snapshot *one = &taken->list[i];

		snapshot_ask_for(target, one, &orders[i], &what[i]);
		orders[i].node = one->added ? one->added : control_node_add(target, &one->node);
		if (!orders[i].node) {
			snapshot_take_back(target, taken, orders);
			return control_refuse("GenericError", "out of memory");
		}
	}
	if (target->turns && target->turns->near)
		target->turns->near(target->owner);
	rc = bpull_disk_snapshot(what, taken->n, &error);
	if (rc)
		snapshot_take_back(target, taken, orders);
	else
		snapshot_note(target, taken, orders);
	return rc ? snapshot_failed(taken, rc, &error) : NULL;
}

struct json_object *control_snapshot_take(struct control_target *target,
					  const struct control_snapshots *taken)
{
	struct snapshot_order *orders;
	struct bpull_snapshot *what;
	struct json_object *refusal;

	if (!taken->n)
		return NULL;
	orders = calloc(taken->n, sizeof(*orders));
	what = calloc(taken->n, sizeof(*what));
	refusal = orders && what ? snapshot_take_all(target, taken, orders, what)
				 : control_refuse("GenericError", "out of memory");
	free(what);
	free(orders);
	return refusal;
}

/* ---- the verbs ---- */

struct json_object *control_blockdev_snapshot_sync(struct control_target *target,
						   struct json_object *args)
{
	struct control_snapshot one;
	struct control_snapshots taken = { .list = &one };
	struct json_object *refusal = control_snapshot_prepare_sync(target, args, &taken);

	if (!refusal)
		refusal = control_snapshot_take(target, &taken);
	return refusal ? refusal : control_ok(NULL);
}

struct json_object *control_blockdev_snapshot(struct control_target *target,
					      struct json_object *args)
{
	struct control_snapshot one;
	struct control_snapshots taken = { .list = &one };
	struct json_object *refusal = control_snapshot_prepare(target, args, &taken);

	if (!refusal)
		refusal = control_snapshot_take(target, &taken);
	return refusal ? refusal : control_ok(NULL);
}
