/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A node that a client adds is a promise: its file is looked at, and opened for
 * writing only when a snapshot makes it the disk's image. So what QEMU takes for
 * how a node is opened is taken here where the disk has it anyway, and refused
 * where it says something else; what only makes QEMU faster is taken.
 */
#include "tools/control/blockdev.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/blockdev_del.h"
#include "tools/control/state/nodes.h"

static const char *const drivers[] = { "qcow2", "qed", "raw", "file", "host_device", NULL };
static const char *const file_drivers[] = { "file", "host_device", NULL };
static const char *const discard_words[] = { "ignore", "off", "unmap", "on", NULL };
static const char *const detect_words[] = { "off", NULL };
static const char *const locking_words[] = { "auto", "on", NULL };
/* What QEMU's overlap-check has it look at. The library looks at all of that, always. */
static const char *const overlap_words[] = { "none", "constant", "cached", "all", NULL };
static const char *const aio_words[] = { "threads", "native", "io_uring", NULL };

/* In QEMU's order. */
#define ANY_NODE(driver_words)                                                                \
	{ "driver", CONTROL_TEXT, true, driver_words }, { "node-name", CONTROL_TEXT, false }, \
		{ "discard", CONTROL_TEXT, false, discard_words },                            \
		{ "cache", CONTROL_OBJECT, false }, { "read-only", CONTROL_BOOLEAN, false },  \
		{ "auto-read-only", CONTROL_BOOLEAN, false },                                 \
		{ "force-share", CONTROL_BOOLEAN, false },                                    \
	{                                                                                     \
		"detect-zeroes", CONTROL_TEXT, false, detect_words                            \
	}
#define FILE_NODE                                                                              \
	{ "filename", CONTROL_TEXT, true }, { "locking", CONTROL_TEXT, false, locking_words }, \
		{ "aio", CONTROL_TEXT, false, aio_words },                                     \
		{ "aio-max-batch", CONTROL_INTEGER, false },                                   \
		{ "drop-cache", CONTROL_BOOLEAN, false },                                      \
	{                                                                                      \
		"x-check-cache-dropped", CONTROL_BOOLEAN, false                                \
	}

static const struct control_arg any_args[] = { ANY_NODE(drivers), { 0 } };
static const struct control_arg file_args[] = { ANY_NODE(file_drivers), FILE_NODE, { 0 } };
static const struct control_arg raw_args[] = { ANY_NODE(drivers),
					       { "file", CONTROL_REF, true },
					       { 0 } };
static const struct control_arg cow_args[] = {
	ANY_NODE(drivers),
	{ "file", CONTROL_REF, true },
	{ "backing", CONTROL_REF_OR_NULL, false },
	{ 0 },
};
static const struct control_arg qcow2_args[] = {
	ANY_NODE(drivers),
	{ "file", CONTROL_REF, true },
	{ "backing", CONTROL_REF_OR_NULL, false },
	{ "lazy-refcounts", CONTROL_BOOLEAN, false },
	{ "pass-discard-request", CONTROL_BOOLEAN, false },
	{ "pass-discard-snapshot", CONTROL_BOOLEAN, false },
	{ "pass-discard-other", CONTROL_BOOLEAN, false },
	{ "overlap-check", CONTROL_OVERLAP_CHECKS, false, overlap_words },
	{ "cache-size", CONTROL_INTEGER, false },
	{ "l2-cache-size", CONTROL_INTEGER, false },
	{ "l2-cache-entry-size", CONTROL_INTEGER, false },
	{ "refcount-cache-size", CONTROL_INTEGER, false },
	{ "cache-clean-interval", CONTROL_INTEGER, false },
	{ 0 },
};
static const struct control_arg cache_args[] = { { "direct", CONTROL_BOOLEAN, false },
						 { "no-flush", CONTROL_BOOLEAN, false },
						 { 0 } };

static const struct control_arg overlap_args[] = {
	{ "template", CONTROL_TEXT, false, overlap_words },
	{ "main-header", CONTROL_BOOLEAN, false },
	{ "active-l1", CONTROL_BOOLEAN, false },
	{ "active-l2", CONTROL_BOOLEAN, false },
	{ "refcount-table", CONTROL_BOOLEAN, false },
	{ "refcount-block", CONTROL_BOOLEAN, false },
	{ "snapshot-table", CONTROL_BOOLEAN, false },
	{ "inactive-l1", CONTROL_BOOLEAN, false },
	{ "inactive-l2", CONTROL_BOOLEAN, false },
	{ "bitmap-directory", CONTROL_BOOLEAN, false },
	{ 0 },
};

static struct json_object *blockdev_not_found(const char *name)
{
	return control_refuse("GenericError", "Cannot find device='%.200s' nor node-name='%.200s'",
			      name, name);
}

/* ---- names ---- */

static struct json_object *blockdev_duplicate(const char *name)
{
	return control_refuse("GenericError", "Duplicate nodes with node-name='%.200s'", name);
}

struct json_object *control_refuse_name(const struct control_target *target, const char *name)
{
	if (!control_is_well_formed(name))
		return control_refuse("GenericError", "Invalid node-name: '%.200s'", name);
	if (strlen(name) >= CONTROL_NODE_NAME_CAP)
		return control_refuse("GenericError", "Node name too long");
	if (control_node_named(target, name) || control_node_of_file(target, name))
		return blockdev_duplicate(name);
	return NULL;
}

static struct json_object *blockdev_take_name(const struct control_target *target,
					      struct json_object *args, struct control_node *node)
{
	const char *name = control_text(args, "node-name");
	struct json_object *refusal;

	if (!name)
		return control_refuse("GenericError",
				      "'node-name' must be specified for the root node");
	refusal = control_refuse_name(target, name);
	if (!refusal)
		snprintf(node->name, sizeof(node->name), "%s", name);
	return refusal;
}

/* ---- files ---- */

static struct json_object *blockdev_cannot_open(const char *path, int rc,
						const struct bpull_error *error)
{
	if (rc == -ENOENT || rc == -EACCES || rc == -EISDIR || rc == -ENOTDIR)
		return control_refuse("GenericError", "Could not open '%.1000s': %s", path,
				      strerror(-rc));
	return control_refuse("GenericError", "%s", error->message);
}

static struct json_object *blockdev_wrong_format(enum bpull_format format)
{
	return control_refuse("GenericError", "%s",
			      format == BPULL_FORMAT_QED ? "Image not in QED format"
							 : "Image is not in qcow2 format");
}

struct json_object *control_refuse_other(const struct control_target *target, const char *path,
					 bool write)
{
	struct bpull_error error;

	if (!target->others)
		return control_refuse("GenericError", "%s",
				      target->others_refused ? target->others_refused
							     : "No other file may be opened here");
	if (path && target->check_other && target->check_other(target->owner, path, write, &error))
		return control_refuse("GenericError", "%s", error.message);
	return NULL;
}

struct json_object *control_look_at(const struct control_target *target, const char *path,
				    enum bpull_format format, struct control_node *node)
{
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct json_object *refusal = control_refuse_other(target, path, false);
	struct bpull_disk_options o;
	struct bpull_error error;
	struct bpull_info *info;
	int rc;

	if (refusal)
		return refusal;
	o = *target->others;
	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING | BPULL_DISK_FORCE_SHARE;
	/* Another format is found by looking, not by a damaged image of this one. */
	o.format = format == BPULL_FORMAT_RAW ? format : BPULL_FORMAT_UNKNOWN;
	rc = bpull_info_open(path, &o, &info, &error);
	if (rc)
		return blockdev_cannot_open(path, rc, &error);
	bpull_info_layer(info, 0, &layer);
	control_node_look(node, &layer);
	node->has_backing = layer.backing_name;
	if (format != layer.format && (format || layer.format == BPULL_FORMAT_RAW))
		refusal = blockdev_wrong_format(format);
	bpull_info_close(info);
	return refusal;
}

static struct json_object *blockdev_file_conflict(const struct control_node *owner,
						  const char *name, const struct control_node *node)
{
	return control_refuse("GenericError",
			      "Permission conflict on node '%s': permissions 'write, resize' are "
			      "both required by node '%s' (uses node '%s' as 'file' child) and "
			      "unshared by node '%s' (uses node '%s' as 'file' child).",
			      name, owner->name, name, node->name, name);
}

/* The file of a node, by a name that a client gave it before. */
static struct json_object *blockdev_take_file_node(const struct control_target *target,
						   const char *name, struct control_node *node)
{
	const struct control_node *file = control_node_named(target, name);
	const struct control_node *owner = control_node_of_file(target, name);

	if (owner)
		return blockdev_file_conflict(owner, name, node);
	if (!file)
		return blockdev_not_found(name);
	if (file->format != BPULL_FORMAT_UNKNOWN)
		return control_refuse("GenericError",
				      "Node '%s' is no file: name a node of driver 'file'", name);
	if (control_file_is_used(target, name))
		return control_refuse("GenericError", "Node '%s' is another node's file already",
				      name);
	snprintf(node->file, sizeof(node->file), "%s", name);
	node->path = file->path;
	return NULL;
}

static struct json_object *blockdev_check_cache(struct json_object *args, const char *where)
{
	struct json_object *cache;

	if (!json_object_object_get_ex(args, "cache", &cache))
		return NULL;
	return control_check_members(cache_args, cache, where);
}

static struct json_object *blockdev_take_file(const struct control_target *target,
					      struct json_object *args, struct control_node *node)
{
	struct json_object *file, *refusal;
	const char *name;

	json_object_object_get_ex(args, "file", &file);
	if (json_object_is_type(file, json_type_string))
		return blockdev_take_file_node(target, json_object_get_string(file), node);
	refusal = control_check_members(file_args, file, "file.");
	if (!refusal)
		refusal = blockdev_check_cache(file, "file.cache.");
	name = control_text(file, "node-name");
	if (!refusal && name)
		refusal = control_refuse_name(target, name);
	if (refusal)
		return refusal;
	if (name && !strcmp(name, node->name))
		return blockdev_duplicate(name);
	node->path = (char *)control_text(file, "filename");
	if (name)
		snprintf(node->own_file, sizeof(node->own_file), "%s", name);
	return NULL;
}

/* What a null, a name, an object or nothing at all say of a node's backing file. */
static struct json_object *blockdev_take_backing(const struct control_target *target,
						 struct json_object *args,
						 struct control_node *node)
{
	struct json_object *backing;
	const char *name;

	if (!json_object_object_get_ex(args, "backing", &backing))
		return NULL;
	node->has_backing = backing;
	if (json_object_is_type(backing, json_type_object))
		return control_refuse("GenericError",
				      "Parameter 'backing' must be null or a node's name: what is "
				      "below the disk's image is named already");
	name = json_object_get_string(backing);
	if (!name)
		return NULL;
	if (control_node_named(target, name)) {
		snprintf(node->backing, sizeof(node->backing), "%s", name);
		return NULL;
	}
	return control_refuse("GenericError",
			      "Could not open backing file: Cannot find device='%.200s' nor "
			      "node-name='%.200s'",
			      name, name);
}

/* The disk has it, and writes to it. */
static bool blockdev_is_in_use(const struct control_target *target, const char *path)
{
	uint32_t depth;

	return (target->top && !strcmp(target->top->path, path)) ||
	       (target->disk && !bpull_disk_find(target->disk, path, &depth, NULL));
}

/* ---- blockdev-add ---- */

static struct json_object *blockdev_check_qcow2(struct json_object *args)
{
	struct json_object *refusal = control_check_args(qcow2_args, args), *checks;

	if (refusal || !json_object_object_get_ex(args, "overlap-check", &checks) ||
	    !json_object_is_type(checks, json_type_object))
		return refusal;
	return control_check_members(overlap_args, checks, "overlap-check.");
}

static struct json_object *blockdev_check_args(struct json_object *args, enum bpull_format *format)
{
	struct json_object *refusal = control_check_some(any_args, args, "");
	const char *driver;

	if (!refusal)
		refusal = blockdev_check_cache(args, "cache.");
	if (refusal)
		return refusal;
	driver = control_text(args, "driver");
	*format = bpull_format_by_name(driver); /* of a file: UNKNOWN */
	switch (*format) {
	case BPULL_FORMAT_QCOW2: return blockdev_check_qcow2(args);
	case BPULL_FORMAT_QED: return control_check_args(cow_args, args);
	case BPULL_FORMAT_RAW: return control_check_args(raw_args, args);
	case BPULL_FORMAT_UNKNOWN: break;
	}
	return control_check_args(file_args, args);
}

/* Its file, and what is in it. */
static struct json_object *blockdev_take_node(const struct control_target *target,
					      struct json_object *args, enum bpull_format format,
					      struct control_node *node)
{
	struct json_object *refusal = NULL;

	if (format == BPULL_FORMAT_UNKNOWN) {
		node->path = (char *)control_text(args, "filename");
		refusal = control_look_at(target, node->path, BPULL_FORMAT_RAW, node);
		node->format = BPULL_FORMAT_UNKNOWN;
		return refusal;
	}
	refusal = blockdev_take_file(target, args, node);
	if (!refusal)
		refusal = control_look_at(target, node->path, format, node);
	if (!refusal && !node->is_read_only && blockdev_is_in_use(target, node->path))
		refusal = control_refuse("GenericError", "Failed to get \"write\" lock");
	return refusal ? refusal : blockdev_take_backing(target, args, node);
}

static struct json_object *blockdev_check_room(const struct control_target *target)
{
	unsigned n = 0;

	for (const struct control_node *node = target->nodes; node; node = node->next)
		n += node->is_added && !node->is_in_chain;
	if (n < CONTROL_MAX_ADDED)
		return NULL;
	return control_refuse("GenericError", "There are %u added nodes: take some away", n);
}

struct json_object *control_blockdev_add(struct control_target *target, struct json_object *args)
{
	struct control_node node = { .is_added = true };
	enum bpull_format format = BPULL_FORMAT_UNKNOWN;
	struct json_object *refusal = blockdev_check_args(args, &format);
	bool force_share = false;

	if (refusal)
		return refusal;
	control_boolean(args, "read-only", &node.is_read_only);
	control_boolean(args, "force-share", &force_share);
	refusal = blockdev_take_name(target, args, &node);
	if (!refusal && force_share && !node.is_read_only)
		refusal = control_refuse("GenericError",
					 "force-share=on can only be used with read-only images");
	if (!refusal)
		refusal = blockdev_check_room(target);
	if (!refusal)
		refusal = blockdev_take_node(target, args, format, &node);
	if (!refusal && !control_node_add(target, &node))
		refusal = control_refuse("GenericError", "out of memory");
	return refusal ? refusal : control_ok(NULL);
}
