/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names for files, as QEMU has them for its nodes: what base-node, bottom and
 * overlay mean. Those of the chain are given once, from the top down, when the
 * socket is made: a name that moved to another file as the chain changes would
 * make a client pull to a base it does not mean.
 *
 * Whether a file is in the chain still the library is asked each time: a job
 * may end between two requests.
 */
#include "tools/control/state/nodes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/control/state/events.h"
#include "tools/control/state/names.h"

static void nodes_free(struct control_node *node)
{
	free(node->path);
	free(node);
}

void control_nodes_close(struct control_target *target)
{
	while (target->nodes) {
		struct control_node *next = target->nodes->next;

		nodes_free(target->nodes);
		target->nodes = next;
	}
	target->top = NULL;
}

/* A copy that is in no list. NULL: no memory. */
static struct control_node *nodes_copy(const struct control_node *node)
{
	struct control_node *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *node;
	copy->next = NULL;
	copy->path = strdup(node->path);
	if (copy->path)
		return copy;
	free(copy);
	return NULL;
}

void control_node_look(struct control_node *node, const struct bpull_layer_info *layer)
{
	node->format = layer->format;
	node->virtual_size = layer->virtual_size;
	node->cluster_size = layer->cluster_size;
	node->is_encrypted = layer->encryption;
	node->look = (struct control_look){
		.version = layer->version,
		.refcount_bits = layer->refcount_bits,
		.is_zstd = layer->compression && !strcmp(layer->compression, "zstd"),
		.is_lazy = layer->lazy_refcounts,
		.is_dirty = layer->dirty,
		.is_corrupt = layer->corrupt,
		.has_subclusters = layer->extended_l2,
		.link_format = layer->backing_format ? bpull_format_by_name(layer->backing_format)
						     : BPULL_FORMAT_UNKNOWN,
	};
	if (layer->backing_name)
		snprintf(node->look.link, sizeof(node->look.link), "%s", layer->backing_name);
}

/* A name like QEMU's for the node of its file, which no node has. */
static void nodes_name_file(struct control_target *target, struct control_node *node)
{
	char *name = node->own_file;

	if (node->format == BPULL_FORMAT_UNKNOWN || *node->file || *name)
		return;
	do
		snprintf(name, sizeof(node->own_file), "#block%03u", target->n_files++);
	while (control_node_named(target, name));
}

/* What a name behind a network leads to is no file here. */
static bool nodes_is_file(const char *path)
{
	struct stat st;

	return !stat(path, &st);
}

static struct control_node *nodes_of_layer(struct control_target *target, unsigned i,
					   const struct bpull_layer_info *layer)
{
	const struct control_names *names = target->names;
	struct control_node node = { .path = (char *)layer->path, .is_in_chain = true };

	control_node_look(&node, layer);
	if (nodes_is_file(node.path))
		nodes_name_file(target, &node);
	node.is_added = names && i < names->n;
	if (node.is_added)
		snprintf(node.name, sizeof(node.name), "%s", names->list[i]);
	else
		snprintf(node.name, sizeof(node.name), "#layer%u", i);
	return nodes_copy(&node);
}

void control_nodes_open(struct control_target *target)
{
	struct bpull_disk_options o = { .size = sizeof(o) };
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct control_node **end = &target->nodes;
	struct bpull_info *info;

	if (target->how)
		o = *target->how;
	/* The owner may hold the image's lock, and nothing is read but headers. */
	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	o.opened = NULL;
	if (!target->path || bpull_info_open(target->path, &o, &info, NULL))
		return;
	for (unsigned i = 0; i < bpull_info_depth(info); i++) {
		if (!bpull_info_layer(info, i, &layer))
			*end = nodes_of_layer(target, i, &layer);
		if (!*end)
			break;
		end = &(*end)->next;
	}
	target->top = target->nodes;
	bpull_info_close(info);
}

/* ---- the chain ---- */

bool control_node_is_in_chain(const struct control_target *target, const struct control_node *node,
			      uint32_t *depth)
{
	*depth = 0;
	/* The image itself is in its chain, though the library finds only what is below it. */
	if (!node->is_in_chain || node == target->top)
		return node->is_in_chain;
	return target->disk && !bpull_disk_find(target->disk, node->path, depth, NULL);
}

bool control_node_is_there(const struct control_target *target, const struct control_node *node)
{
	uint32_t depth;

	return node->is_added || control_node_is_in_chain(target, node, &depth);
}

struct control_node *control_node_named(const struct control_target *target, const char *name)
{
	for (struct control_node *node = target->nodes; node; node = node->next)
		if (!strcmp(node->name, name) && control_node_is_there(target, node))
			return node;
	return NULL;
}

const struct control_node *control_node_of_file(const struct control_target *target,
						const char *name)
{
	for (const struct control_node *node = target->nodes; node; node = node->next)
		if (!strcmp(node->own_file, name) && control_node_is_there(target, node))
			return node;
	return NULL;
}

const struct control_node *control_node_find(const struct control_target *target, const char *name,
					     uint32_t *depth)
{
	const struct control_node *node = control_node_named(target, name);

	return node && control_node_is_in_chain(target, node, depth) ? node : NULL;
}

const struct control_node *control_node_at(const struct control_target *target, uint32_t depth)
{
	uint32_t at;

	for (const struct control_node *node = target->nodes; node; node = node->next)
		if (control_node_is_in_chain(target, node, &at) && at == depth)
			return node;
	return NULL;
}

/* From a commit's turn on, of which its event tells later, that is none of target->top, and what
 * bpull_disk_find() refuses. */
static bool nodes_is_image(const struct control_target *target, const char *path)
{
	char image[PATH_MAX];

	return bpull_disk_layer_path(target->disk, 0, image, sizeof(image)) < 0 ||
	       !strcmp(image, path);
}

bool control_path_is_used(const struct control_target *target, const char *path)
{
	uint32_t depth;

	for (const struct control_node *node = target->nodes; node; node = node->next)
		if (!strcmp(node->path, path) && control_node_is_there(target, node))
			return true;
	/* What can't be told counts as used. */
	return !target->top || !target->disk || nodes_is_image(target, path) ||
	       bpull_disk_find(target->disk, path, &depth, NULL) != -EINVAL;
}

/* ---- changes ---- */

struct control_node *control_node_add(struct control_target *target,
				      const struct control_node *node)
{
	struct control_node *copy = nodes_copy(node), **end = &target->nodes;

	if (!copy)
		return NULL;
	nodes_name_file(target, copy);
	/* Behind the chain, whose order the list has. */
	while (*end)
		end = &(*end)->next;
	*end = copy;
	return copy;
}

static void nodes_unlink(struct control_target *target, const struct control_node *node)
{
	struct control_node **link = &target->nodes;

	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
}

void control_node_remove(struct control_target *target, struct control_node *node)
{
	nodes_unlink(target, node);
	nodes_free(node);
}

void control_node_push(struct control_target *target, struct control_node *node)
{
	nodes_unlink(target, node);
	node->next = target->nodes;
	node->is_in_chain = true;
	target->nodes = target->top = node;
}

static void nodes_move_behind(struct control_target *target, struct control_node *node)
{
	struct control_node **end = &target->nodes;

	nodes_unlink(target, node);
	node->next = NULL;
	while (*end)
		end = &(*end)->next;
	*end = node;
}

/* The image may be another one by now. */
static void nodes_turn(struct control_target *target)
{
	char top[PATH_MAX];

	if (bpull_disk_layer_path(target->disk, 0, top, sizeof(top)) < 0)
		return;
	for (struct control_node *node = target->nodes; node; node = node->next)
		if (node->is_in_chain && !strcmp(node->path, top))
			target->top = node;
}

void control_nodes_settle(struct control_target *target)
{
	struct control_node *node = target->nodes, *next;
	struct control_node *last = node, *old = target->top, *above = NULL;
	uint32_t depth;

	nodes_turn(target);
	while (last && last->next)
		last = last->next;
	for (bool is_last = !node; !is_last; node = next) {
		next = node->next;
		is_last = node == last;
		if (!node->is_in_chain)
			continue;
		if (control_node_is_in_chain(target, node, &depth)) {
			above = node;
			continue;
		}
		if (above)
			above->look.is_stale = true;
		node->is_in_chain = false;
		node->is_read_only = node != old;
		if (node->is_added)
			nodes_move_behind(target, node);
		else
			control_node_remove(target, node);
	}
}
