/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/control/snapshot.h"

#include <errno.h>
#include <stdio.h>
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

/* One of the chain, or of those that clients have added, must be the disk's image. */
static struct json_object *snapshot_check_node(const struct control_target *target,
					       const struct control_node *node,
					       const struct control_snapshot *taken)
{
	const struct control_node *above;
	uint32_t depth;

	if (!control_node_is_in_chain(target, node, &depth))
		return control_refuse("GenericError",
				      "Node '%s' is not the disk's: only '%s' can be snapshot",
				      node->name, target->top ? target->top->name : "");
	above = depth ? control_node_at(target, depth - 1) : control_node_said_above(target, node);
	if (above)
		return snapshot_busy(node->name, above->name);
	return taken ? snapshot_busy(node->name, taken->node.name) : NULL;
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
					 const char *name, const struct control_snapshot *taken)
{
	const struct control_node *node = name ? control_node_named(target, name) : NULL;
	struct json_object *refusal = NULL;

	if (device && !strcmp(device, target->device)) {
		refusal = taken ? snapshot_busy(device, taken->node.name) : NULL;
		name = device;
	} else if (node) {
		refusal = snapshot_check_node(target, node, taken);
	} else if (name && taken && !strcmp(name, taken->node.name)) {
		refusal = control_refuse("GenericError",
					 "A transaction takes one snapshot of the disk");
	} else {
		refusal = control_refuse("GenericError",
					 "Cannot find device='%.200s' nor node-name='%.200s'",
					 device ? device : "", name ? name : "");
	}
	return refusal ? refusal : snapshot_check_disk(target, name);
}

/* ---- the new overlay ---- */

/* A name like those of the first chain, of a number that none had. */
static void snapshot_make_name(const struct control_target *target, char *name)
{
	unsigned i = 0;

	do
		snprintf(name, CONTROL_NODE_NAME_CAP, "#layer%u", i++);
	while (control_node_named(target, name));
}

static struct json_object *snapshot_take_name(const struct control_target *target,
					      struct json_object *args,
					      struct control_snapshot *snapshot)
{
	const char *name = control_text(args, "snapshot-node-name");
	struct json_object *refusal;

	if (!name && control_text(args, "node-name"))
		return control_refuse("GenericError", "New overlay node-name missing");
	if (!name) {
		snapshot_make_name(target, snapshot->node.name);
		return NULL;
	}
	if (control_node_named(target, name))
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
						  const struct control_snapshot *taken,
						  struct control_snapshot *snapshot)
{
	const char *mode = control_text(args, "mode");
	struct json_object *refusal;

	*snapshot = (struct control_snapshot){
		.node.path = (char *)control_text(args, "snapshot-file"),
		.is_there = mode && !strcmp(mode, "existing"),
	};
	refusal = snapshot_find(target, control_text(args, "device"),
				control_text(args, "node-name"), taken);
	if (!refusal)
		refusal = snapshot_take_name(target, args, snapshot);
	if (!refusal)
		refusal = snapshot_take_format(args, snapshot);
	if (!refusal)
		refusal = control_refuse_other(target, snapshot->node.path, false);
	if (!refusal && snapshot->is_there)
		refusal = control_look_at(target, snapshot->node.path, snapshot->node.format,
					  &snapshot->node);
	return refusal;
}

static struct json_object *snapshot_take_overlay(const struct control_target *target,
						 const char *name,
						 struct control_snapshot *snapshot)
{
	struct control_node *overlay = control_node_named(target, name);
	uint32_t depth;

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
					     const struct control_snapshot *taken,
					     struct control_snapshot *snapshot)
{
	const char *node = control_text(args, "node");
	struct json_object *refusal = snapshot_find(target, node, node, taken);

	*snapshot = (struct control_snapshot){ .is_there = true };
	return refusal ? refusal
		       : snapshot_take_overlay(target, control_text(args, "overlay"), snapshot);
}

/* ---- the deed ---- */

static struct json_object *snapshot_failed(const char *path, int rc,
					   const struct bpull_error *error)
{
	if (rc == -ENOENT || rc == -EACCES || rc == -ENOTDIR)
		return control_refuse("GenericError", "Could not create '%.1000s': %s", path,
				      strerror(-rc));
	return control_refuse("GenericError", "%s", error->message);
}

struct json_object *control_snapshot_take(struct control_target *target,
					  const struct control_snapshot *snapshot)
{
	struct bpull_create_options create = { .size = sizeof(create),
					       .format = snapshot->node.format };
	struct bpull_snapshot what = {
		.size = sizeof(what),
		.disk = target->disk,
		.path = snapshot->node.path,
		.create = &create,
		.flags = snapshot->is_there ? BPULL_SNAPSHOT_EXISTING : 0,
		.open_file = snapshot->is_there ? target->others->open_file : NULL,
		.open_opaque = snapshot->is_there ? target->others->open_opaque : NULL,
	};
	/* Its place is there before the disk changes. */
	struct control_node *node =
		snapshot->added ? snapshot->added : control_node_add(target, &snapshot->node);
	struct bpull_error error = { 0 };
	int rc = node ? bpull_disk_snapshot(&what, 1, &error) : -ENOMEM;

	if (rc && node && !snapshot->added)
		control_node_remove(target, node);
	if (rc)
		return node ? snapshot_failed(what.path, rc, &error)
			    : control_refuse("GenericError", "out of memory");
	if (!snapshot->is_there)
		json_object_put(control_look_at(target, node->path, node->format, node));
	control_node_push(target, node);
	if (target->chain_turned)
		target->chain_turned(target->owner, node);
	return NULL;
}

/* ---- the verbs ---- */

static struct json_object *snapshot_answer(struct control_target *target,
					   struct json_object *refusal,
					   const struct control_snapshot *snapshot)
{
	if (!refusal)
		refusal = control_snapshot_take(target, snapshot);
	return refusal ? refusal : control_ok(NULL);
}

struct json_object *control_blockdev_snapshot_sync(struct control_target *target,
						   struct json_object *args)
{
	struct control_snapshot snapshot;
	struct json_object *refusal = control_snapshot_prepare_sync(target, args, NULL, &snapshot);

	return snapshot_answer(target, refusal, &snapshot);
}

struct json_object *control_blockdev_snapshot(struct control_target *target,
					      struct json_object *args)
{
	struct control_snapshot snapshot;
	struct json_object *refusal = control_snapshot_prepare(target, args, NULL, &snapshot);

	return snapshot_answer(target, refusal, &snapshot);
}
