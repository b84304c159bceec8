/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is left out of a request is as the owner's defaults say: the plugin's
 * parameters hold for jobs that a client starts, too. Which files are pulled
 * is never guessed: a name that leads to none is refused.
 */
#include "tools/control/start.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/control/blockdev.h"
#include "tools/control/job_request.h"
#include "tools/control/state/nodes.h"

const struct control_arg control_stream_args[] = {
	{ "job-id", CONTROL_TEXT, false },
	{ "device", CONTROL_TEXT, false },
	{ "base", CONTROL_TEXT, false },
	{ "base-node", CONTROL_TEXT, false },
	{ "backing-file", CONTROL_TEXT, false },
	{ "bottom", CONTROL_TEXT, false },
	CONTROL_JOB_ARGS,
	{ 0 },
};

/* Which file of the chain is pulled into: *top is its depth. */
static struct json_object *start_take_device(const struct control_target *target,
					     struct json_object *args, struct control_request *r,
					     uint32_t *top)
{
	const char *device = control_text(args, "device");
	const struct control_node *node;

	*top = 0;
	if (!device || !strcmp(device, target->device))
		return NULL;
	node = control_node_find(target, device, top);
	if (!node)
		return control_refuse("GenericError",
				      "Cannot find device='%.200s' nor node-name='%.200s'", device,
				      device);
	if (!*top)
		return NULL;
	r->o.top = node->path;
	r->o.base = NULL; /* the owner's is the image's */
	return control_refuse_other(target, node->path, true);
}

static const char *start_device(const struct control_target *target, struct json_object *args)
{
	const char *device = control_text(args, "device");

	return device ? device : target->device;
}

static struct json_object *start_check_pairs(struct json_object *args)
{
	static const char *const pairs[][2] = { { "base", "base-node" },
						{ "base", "bottom" },
						{ "bottom", "base-node" } };

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (control_text(args, pairs[i][0]) && control_text(args, pairs[i][1]))
			return control_refuse("GenericError",
					      "'%s' and '%s' cannot be specified at the same time",
					      pairs[i][0], pairs[i][1]);
	return NULL;
}

/* QEMU's three ways to say where a pull ends; at most one is given. */
static struct json_object *start_take_base(const struct control_target *target,
					   struct json_object *args, uint32_t top,
					   struct control_request *r)
{
	const char *base = control_text(args, "base"), *bottom = control_text(args, "bottom");
	const char *base_node = control_text(args, "base-node");
	const char *name = base_node ? base_node : bottom;
	struct json_object *refusal = start_check_pairs(args);
	const struct control_node *node;
	uint32_t depth = 0;

	if (refusal)
		return refusal;
	if (base && (bpull_disk_find(target->disk, base, &depth, NULL) || depth <= top))
		return control_refuse("GenericError", "Can't find '%.1000s' in the backing chain",
				      base);
	if (base)
		r->o.base = base;
	if (!name)
		return NULL;
	node = control_node_find(target, name, &depth);
	if (!node)
		return control_refuse("GenericError",
				      "Cannot find device='' nor node-name='%.200s'", name);
	if (base_node && depth <= top)
		return control_refuse("GenericError",
				      "Node '%.200s' is not a backing image of '%.200s'", name,
				      start_device(target, args));
	if (bottom && depth < top)
		return control_refuse("GenericError",
				      "Node '%.200s' is not in a chain starting from '%.200s'",
				      name, start_device(target, args));
	if (bottom)
		node = control_node_at(target, depth + 1);
	/* Below the last file there is none to name, but no file may be overlooked either. */
	if (!node && depth + 1 < bpull_disk_depth(target->disk))
		return control_refuse("GenericError", "The node below '%.200s' is not known", name);
	r->o.base = node ? node->path : NULL;
	return NULL;
}

static struct json_object *start_take_backing_file(struct json_object *args,
						   struct control_request *r)
{
	r->o.base_name = control_text(args, "backing-file");
	if (!r->o.base_name || r->o.base)
		return NULL;
	return control_refuse("GenericError",
			      "backing file specified, but streaming the entire chain");
}

struct json_object *control_block_stream(struct control_target *target, struct json_object *args)
{
	struct control_request r = { .o = target->job, .type = "stream" };
	uint32_t top;
	struct json_object *refusal = start_take_device(target, args, &r, &top);

	if (!refusal)
		refusal = control_request_take_id(target, args, &r);
	if (!refusal)
		refusal = control_request_check_disk(target, start_device(target, args));
	if (!refusal)
		refusal = start_take_base(target, args, top, &r);
	if (!refusal)
		refusal = start_take_backing_file(args, &r);
	if (!refusal)
		refusal = control_request_take_rest(target, args, &r);
	return refusal ? refusal : control_request_start(target, &r);
}
