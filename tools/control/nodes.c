/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names for the files of the chain, as QEMU has them for its nodes: what
 * base-node and bottom mean. They are given once, from the top down, when the
 * socket is made: a name that moved to another file as the chain gets shorter
 * would make a client pull to a base it does not mean.
 */
#include "tools/control/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "tools/control/events.h"

void control_nodes_close(struct control_target *target)
{
	for (unsigned i = 0; i < target->n_nodes; i++)
		free(target->nodes[i].path);
	free(target->nodes);
	target->nodes = NULL;
	target->n_nodes = 0;
}

/* False: no memory. */
static bool nodes_take(struct control_node *node, unsigned i, const struct bpull_layer_info *layer)
{
	*node = (struct control_node){
		.path = strdup(layer->path),
		.format = layer->format,
		.virtual_size = layer->virtual_size,
		.cluster_size = layer->cluster_size,
		.is_encrypted = layer->encryption,
	};
	snprintf(node->name, sizeof(node->name), "#layer%u", i);
	return node->path;
}

void control_nodes_open(struct control_target *target)
{
	struct bpull_disk_options o = { .size = sizeof(o) };
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	unsigned depth;

	if (target->how)
		o = *target->how;
	/* The owner may hold the image's lock, and nothing is read but headers. */
	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	o.opened = NULL;
	if (!target->path || bpull_info_open(target->path, &o, &info, NULL))
		return;
	depth = bpull_info_depth(info);
	target->nodes = calloc(depth, sizeof(*target->nodes));
	while (target->nodes && target->n_nodes < depth) {
		struct control_node *node = &target->nodes[target->n_nodes];

		if (bpull_info_layer(info, target->n_nodes, &layer))
			break;
		if (!nodes_take(node, target->n_nodes, &layer))
			break;
		target->n_nodes++;
	}
	bpull_info_close(info);
}

/* The image itself is in its chain, though the library finds only what is below it. */
static bool nodes_is_there(const struct control_target *target, unsigned i, uint32_t *depth)
{
	*depth = 0;
	return !i ||
	       (target->disk && !bpull_disk_find(target->disk, target->nodes[i].path, depth, NULL));
}

const struct control_node *control_node_find(const struct control_target *target, const char *name,
					     uint32_t *depth)
{
	for (unsigned i = 0; i < target->n_nodes; i++)
		if (!strcmp(target->nodes[i].name, name) && nodes_is_there(target, i, depth))
			return &target->nodes[i];
	return NULL;
}

const struct control_node *control_node_below(const struct control_target *target, uint32_t depth)
{
	uint32_t at;

	for (unsigned i = 0; i < target->n_nodes; i++)
		if (nodes_is_there(target, i, &at) && at == depth + 1)
			return &target->nodes[i];
	return NULL;
}

/* ---- query-named-block-nodes ---- */

static struct json_object *nodes_describe_image(const struct control_node *node)
{
	struct json_object *image = json_object_new_object();

	control_add_text(image, "filename", node->path);
	control_add_text(image, "format", bpull_format_name(node->format));
	control_add_number(image, "virtual-size", node->virtual_size);
	if (node->cluster_size)
		control_add_number(image, "cluster-size", node->cluster_size);
	return image;
}

static struct json_object *nodes_describe_cache(void)
{
	struct json_object *cache = json_object_new_object();

	control_add_bool(cache, "writeback", true);
	control_add_bool(cache, "direct", false);
	control_add_bool(cache, "no-flush", false);
	return cache;
}

static struct json_object *nodes_describe(const struct control_target *target, unsigned i,
					  uint32_t depth)
{
	static const char *const limits[] = { "bps",     "bps_rd",  "bps_wr",         "iops",
					      "iops_rd", "iops_wr", "write_threshold" };
	const struct control_node *node = &target->nodes[i];
	struct json_object *object = json_object_new_object();

	control_add_text(object, "node-name", node->name);
	control_add_text(object, "drv", bpull_format_name(node->format));
	control_add_text(object, "file", node->path);
	control_add_bool(object, "ro", i);
	control_add_bool(object, "encrypted", node->is_encrypted);
	control_add_text(object, "detect_zeroes", "off");
	control_add_number(object, "backing_file_depth",
			   target->disk ? bpull_disk_depth(target->disk) - 1 - depth : 0);
	control_add_number(object, "x-depth", depth);
	for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++)
		control_add_number(object, limits[l], 0);
	json_object_object_add(object, "cache", nodes_describe_cache());
	json_object_object_add(object, "image", nodes_describe_image(node));
	return object;
}

struct json_object *control_nodes_describe(const struct control_target *target)
{
	struct json_object *list = json_object_new_array();
	uint32_t depth;

	for (unsigned i = 0; i < target->n_nodes; i++)
		if (nodes_is_there(target, i, &depth))
			json_object_array_add(list, nodes_describe(target, i, depth));
	return list;
}
