/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockdev-del, and what a node is used for. */
#include "tools/control/blockdev_del.h"

#include <string.h>

#include "tools/control/jobs/jobs.h"
#include "tools/control/state/nodes.h"

const struct control_arg control_blockdev_del_args[] = { { "node-name", CONTROL_TEXT, true },
							 { 0 } };

bool control_file_is_used(const struct control_target *target, const char *name)
{
	for (const struct control_node *node = target->nodes; node; node = node->next)
		if (!strcmp(node->file, name))
			return true;
	return false;
}

const struct control_node *control_node_said_above(const struct control_target *target,
						   const struct control_node *node)
{
	const struct control_node *above = target->nodes;

	while (above && strcmp(above->backing, node->name) != 0)
		above = above->next;
	return above;
}

static struct json_object *unused_busy(const struct control_node *node,
				       const struct control_node *above)
{
	return control_refuse("GenericError",
			      "Node '%s' is busy: node is used as backing hd of '%s'", node->name,
			      above->name);
}

static struct json_object *unused_check(const struct control_target *target,
					const struct control_node *node)
{
	const struct control_node *above;
	uint32_t depth;
	bool is_in_chain = control_node_is_in_chain(target, node, &depth);

	if (is_in_chain && target->active && control_job_uses(target, target->active, depth))
		return control_refuse("GenericError",
				      "Node '%s' is busy: block device is in use by block job: %s",
				      node->name, target->active->type);
	if (is_in_chain && target->active && control_job_commits_to(target, target->active, depth))
		return control_refuse("GenericError", "Node %s is in use", node->name);
	if (is_in_chain) {
		above = depth ? control_node_at(target, depth - 1) : NULL;
		if (!above)
			return control_refuse("GenericError", "Node %s is in use", node->name);
		return unused_busy(node, above);
	}
	above = control_node_said_above(target, node);
	if (above)
		return unused_busy(node, above);
	if (control_file_is_used(target, node->name))
		return control_refuse("GenericError", "Block device %s is in use", node->name);
	return NULL;
}

struct json_object *control_blockdev_del(struct control_target *target, struct json_object *args)
{
	const char *name = control_text(args, "node-name");
	struct control_node *node = control_node_named(target, name);
	struct json_object *refusal;

	if (!node && control_node_of_file(target, name))
		return control_refuse("GenericError", "Node %.200s is not owned by the monitor",
				      name);
	if (!node)
		return control_refuse("GenericError", "Failed to find node with node-name='%.200s'",
				      name);
	refusal = unused_check(target, node);
	if (refusal)
		return refusal;
	control_node_remove(target, node);
	return control_ok(NULL);
}
