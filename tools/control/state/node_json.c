/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Nodes in QMP's words. The list is flat: a backing file's description is never
 * repeated in that of the file above it, or the answer for a long chain would be
 * as long as its square.
 */
#include "tools/control/state/node_json.h"

#include <json-c/json.h>

#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"

static const char *node_json_driver(const struct control_node *node)
{
	return node->format == BPULL_FORMAT_UNKNOWN ? "file" : bpull_format_name(node->format);
}

static struct json_object *node_json_image(const struct control_node *node,
					   const struct control_node *below)
{
	struct json_object *image = json_object_new_object();

	control_add_text(image, "filename", node->path);
	control_add_text(image, "format", node_json_driver(node));
	control_add_number(image, "virtual-size", node->virtual_size);
	if (node->cluster_size)
		control_add_number(image, "cluster-size", node->cluster_size);
	if (below)
		control_add_text(image, "full-backing-filename", below->path);
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

static void node_json_place(struct json_object *object, const struct control_target *target,
			    uint32_t depth)
{
	control_add_number(object, "backing_file_depth",
			   target->disk ? bpull_disk_depth(target->disk) - 1 - depth : 0);
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

static struct json_object *node_json_describe(const struct control_target *target,
					      const struct control_node *node)
{
	static const char *const limits[] = { "bps",     "bps_rd",  "bps_wr",         "iops",
					      "iops_rd", "iops_wr", "write_threshold" };
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
	control_add_text(object, "detect_zeroes", "off");
	if (is_in_chain)
		node_json_place(object, target, depth);
	else
		control_add_number(object, "backing_file_depth", 0);
	for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++)
		control_add_number(object, limits[l], 0);
	json_object_object_add(object, "cache", node_json_cache());
	json_object_object_add(object, "image", node_json_image(node, below));
	return object;
}

struct json_object *control_nodes_describe(const struct control_target *target)
{
	struct json_object *list = json_object_new_array();
	uint32_t depth;

	for (const struct control_node *node = target->nodes; node; node = node->next)
		if (node->is_added || control_node_is_in_chain(target, node, &depth))
			json_object_array_add(list, node_json_describe(target, node));
	return list;
}
