/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Nodes in QMP's words, images first, then their files. A description of what lies
 * below is not put into each, as QEMU does unless it is asked for a flat list: the
 * answer for a long chain would be as long as its square.
 */
#include "tools/control/state/node_json.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <json-c/json.h>

#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"

#define STAT_BLOCK 512 /* bytes of a block of stat() */

static const char *node_json_file_driver(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode) ? "host_device" : "file";
}

static const char *node_json_driver(const struct control_node *node)
{
	return node->format == BPULL_FORMAT_UNKNOWN ? node_json_file_driver(node->path)
						    : bpull_format_name(node->format);
}

/* What the file takes; of one behind a network it is not known. */
static void node_json_add_room(struct json_object *image, const char *path)
{
	struct stat st;

	if (!stat(path, &st))
		control_add_number(image, "actual-size", (uint64_t)st.st_blocks * STAT_BLOCK);
}

static void node_json_add_qcow2(struct json_object *image, const struct control_look *look)
{
	struct json_object *specific = json_object_new_object(), *data = json_object_new_object();

	control_add_text(data, "compat", look->version == 2 ? "0.10" : "1.1");
	control_add_text(data, "compression-type", look->is_zstd ? "zstd" : "zlib");
	control_add_number(data, "refcount-bits", look->refcount_bits);
	if (look->version > 2) {
		control_add_bool(data, "lazy-refcounts", look->is_lazy);
		control_add_bool(data, "corrupt", look->is_corrupt);
		control_add_bool(data, "extended-l2", look->has_subclusters);
	}
	control_add_text(specific, "type", "qcow2");
	json_object_object_add(specific, "data", data);
	json_object_object_add(image, "format-specific", specific);
}

/* Where the link of an image leads that is in no chain, whatever a client has said is below it. */
static void node_json_add_full_link(struct json_object *image, const struct control_node *node)
{
	const char *link = node->look.link, *slash = strrchr(node->path, '/');
	char full[PATH_MAX + CONTROL_LINK_CAP];
	int dir_len = slash && *link != '/' && !strchr(link, ':') ? slash + 1 - node->path : 0;

	if (!*link)
		return;
	snprintf(full, sizeof(full), "%.*s%s", dir_len, node->path, link);
	control_add_text(image, "full-backing-filename", full);
}

static void node_json_add_link(struct json_object *image, const struct control_look *look)
{
	if (!*look->link || look->is_stale)
		return;
	control_add_text(image, "backing-filename", look->link);
	if (look->link_format)
		control_add_text(image, "backing-filename-format",
				 bpull_format_name(look->link_format));
}

static struct json_object *node_json_image(const struct control_node *node,
					   const struct control_node *below)
{
	struct json_object *image = json_object_new_object();

	control_add_text(image, "filename", node->path);
	control_add_text(image, "format", node_json_driver(node));
	control_add_number(image, "virtual-size", node->virtual_size);
	node_json_add_room(image, node->path);
	control_add_bool(image, "dirty-flag", node->look.is_dirty);
	if (node->cluster_size && node->format != BPULL_FORMAT_RAW)
		control_add_number(image, "cluster-size", node->cluster_size);
	if (node->format == BPULL_FORMAT_QCOW2)
		node_json_add_qcow2(image, &node->look);
	node_json_add_link(image, &node->look);
	if (below)
		control_add_text(image, "full-backing-filename", below->path);
	else if (!node->is_in_chain)
		node_json_add_full_link(image, node);
	return image;
}

static struct json_object *node_json_cache(void)
{
	struct json_object *cache = json_object_new_object();

	control_add_bool(cache, "writeback", true);
	control_add_bool(cache, "direct", false);
	control_add_bool(cache, "no-flush", false);
	return cache;
}

/* QEMU's flat list tells no depth. */
static void node_json_place(struct json_object *object, const struct control_target *target,
			    uint32_t depth, bool is_flat)
{
	unsigned n = target->disk && !is_flat ? bpull_disk_depth(target->disk) : 0;

	control_add_number(object, "backing_file_depth", n ? n - 1 - depth : 0);
	control_add_number(object, "x-depth", depth);
}

/* The list has the chain's order. */
static const struct control_node *node_json_below(const struct control_target *target,
						  const struct control_node *node)
{
	uint32_t depth;

	do
		node = node->next;
	while (node && !control_node_is_in_chain(target, node, &depth));
	return node;
}

/* What is alike for all. */
static void node_json_add_rest(struct json_object *object)
{
	static const char *const limits[] = { "bps",     "bps_rd",  "bps_wr",         "iops",
					      "iops_rd", "iops_wr", "write_threshold" };

	control_add_text(object, "detect_zeroes", "off");
	for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++)
		control_add_number(object, limits[l], 0);
	json_object_object_add(object, "cache", node_json_cache());
}

static struct json_object *node_json_describe(const struct control_target *target,
					      const struct control_node *node, bool is_flat)
{
	struct json_object *object = json_object_new_object();
	const struct control_node *below = NULL;
	uint32_t depth;
	bool is_in_chain = control_node_is_in_chain(target, node, &depth);

	if (is_in_chain)
		below = node_json_below(target, node);
	control_add_text(object, "node-name", node->name);
	control_add_text(object, "drv", node_json_driver(node));
	control_add_text(object, "file", node->path);
	if (below)
		control_add_text(object, "backing_file", below->path);
	control_add_bool(object, "ro", is_in_chain ? depth > 0 : node->is_read_only);
	control_add_bool(object, "encrypted", node->is_encrypted);
	if (is_in_chain)
		node_json_place(object, target, depth, is_flat);
	else
		control_add_number(object, "backing_file_depth", 0);
	node_json_add_rest(object);
	json_object_object_add(object, "image", node_json_image(node, below));
	return object;
}

static uint64_t node_json_file_len(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : (uint64_t)st.st_size;
}

static struct json_object *node_json_describe_file(const struct control_target *target,
						   const struct control_node *node)
{
	struct json_object *object = json_object_new_object(), *image = json_object_new_object();
	const char *driver = node_json_file_driver(node->path);
	uint32_t depth;
	bool is_in_chain = control_node_is_in_chain(target, node, &depth);

	control_add_text(object, "node-name", node->own_file);
	control_add_text(object, "drv", driver);
	control_add_text(object, "file", node->path);
	control_add_bool(object, "ro", is_in_chain ? depth > 0 : node->is_read_only);
	control_add_bool(object, "encrypted", false);
	control_add_number(object, "backing_file_depth", 0);
	node_json_add_rest(object);
	control_add_text(image, "filename", node->path);
	control_add_text(image, "format", driver);
	control_add_number(image, "virtual-size", node_json_file_len(node->path));
	node_json_add_room(image, node->path);
	control_add_bool(image, "dirty-flag", false);
	json_object_object_add(object, "image", image);
	return object;
}

struct json_object *control_nodes_describe(const struct control_target *target, bool is_flat)
{
	struct json_object *list = json_object_new_array(), *files = json_object_new_array();

	for (const struct control_node *node = target->nodes; node; node = node->next) {
		if (!control_node_is_there(target, node))
			continue;
		json_object_array_add(list, node_json_describe(target, node, is_flat));
		if (*node->own_file)
			json_object_array_add(files, node_json_describe_file(target, node));
	}
	for (size_t i = 0; i < json_object_array_length(files); i++)
		json_object_array_add(list, json_object_get(json_object_array_get_idx(files, i)));
	json_object_put(files);
	return list;
}
