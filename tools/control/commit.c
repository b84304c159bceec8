/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a request names becomes two depths in the chain, first top, then base, and a job that goes
 * from one down to the other. Refusals are QEMU's, in its order; where top is the image itself,
 * the job waits to be told to complete.
 */
#include "tools/control/commit.h"

#include <string.h>

#include <json-c/json.h>

#include "tools/control/blockdev.h"
#include "tools/control/job_request.h"
#include "tools/control/state/nodes.h"

const struct control_arg control_commit_args[] = {
	{ "job-id", CONTROL_TEXT, false },
	{ "device", CONTROL_TEXT, true },
	{ "base-node", CONTROL_TEXT, false },
	{ "base", CONTROL_TEXT, false },
	{ "top-node", CONTROL_TEXT, false },
	{ "top", CONTROL_TEXT, false },
	{ "backing-file", CONTROL_TEXT, false },
	CONTROL_JOB_ARGS,
	{ 0 },
};

/* The two ends of what is committed. */
struct commit_ends {
	const struct control_node *top, *base;
	uint32_t top_depth, base_depth;
};

static struct json_object *commit_check_device(const struct control_target *target,
					       const char *device)
{
	uint32_t depth;

	if (!strcmp(device, target->device))
		return NULL;
	if (!control_node_named(target, device))
		return control_refuse("DeviceNotFound", "Device '%.200s' not found", device);
	if (control_node_find(target, device, &depth) && !depth)
		return NULL;
	return control_refuse("GenericError", "Need a root block node");
}

static struct json_object *commit_refuse_both(struct json_object *args, const char *node,
					      const char *file)
{
	if (!control_text(args, node) || !control_text(args, file))
		return NULL;
	return control_refuse("GenericError", "'%s' and '%s' are mutually exclusive", node, file);
}

/* By the name of a node. */
static struct json_object *commit_find_node(const struct control_target *target, const char *name,
					    const struct control_node **node, uint32_t *depth)
{
	if (!control_node_named(target, name))
		return control_refuse("GenericError",
				      "Cannot find device='' nor node-name='%.200s'", name);
	*node = control_node_find(target, name, depth);
	if (*node)
		return NULL;
	return control_refuse("GenericError", "'%.200s' is not in this backing file chain", name);
}

/* By the name of a file: NULL: the chain has none. */
static const struct control_node *commit_find_file(const struct control_target *target,
						   const char *path, uint32_t *depth)
{
	*depth = 0;
	if (strcmp(path, target->top->path) != 0 &&
	    bpull_disk_find(target->disk, path, depth, NULL))
		return NULL;
	return control_node_at(target, *depth);
}

static struct json_object *commit_take_top(const struct control_target *target,
					   struct json_object *args, struct commit_ends *ends)
{
	const char *name = control_text(args, "top-node"), *file = control_text(args, "top");
	struct json_object *refusal = commit_refuse_both(args, "top-node", "top");

	if (refusal)
		return refusal;
	if (name)
		return commit_find_node(target, name, &ends->top, &ends->top_depth);
	ends->top = file ? commit_find_file(target, file, &ends->top_depth) : target->top;
	if (ends->top)
		return NULL;
	return control_refuse("GenericError", "Top image file %.1000s not found", file);
}

static struct json_object *commit_take_base(const struct control_target *target,
					    struct json_object *args, struct commit_ends *ends)
{
	const char *name = control_text(args, "base-node"), *file = control_text(args, "base");
	struct json_object *refusal = commit_refuse_both(args, "base-node", "base");

	if (refusal)
		return refusal;
	if (name) {
		refusal = commit_find_node(target, name, &ends->base, &ends->base_depth);
	} else if (file) {
		ends->base = commit_find_file(target, file, &ends->base_depth);
		if (!ends->base || ends->base_depth <= ends->top_depth)
			refusal = control_refuse("GenericError",
						 "Can't find '%.1000s' in the backing chain", file);
	} else {
		ends->base_depth = bpull_disk_depth(target->disk) - 1;
		ends->base = control_node_at(target, ends->base_depth);
		if (!ends->base)
			refusal = control_refuse("GenericError", "The lowest node is not known");
	}
	if (!refusal && ends->base_depth == ends->top_depth)
		refusal = control_refuse("GenericError", "cannot commit an image into itself");
	if (!refusal && ends->base_depth < ends->top_depth)
		refusal = control_refuse("GenericError", "'%s' is not in this backing file chain",
					 ends->base->name);
	return refusal;
}

/* They are written to: the base, and the file whose link leads there in the end. */
static struct json_object *commit_check_files(const struct control_target *target,
					      const struct commit_ends *ends)
{
	const struct control_node *above =
		ends->top_depth > 1 ? control_node_at(target, ends->top_depth - 1) : NULL;
	struct json_object *refusal = control_refuse_other(target, ends->base->path, true);

	return refusal || !above ? refusal : control_refuse_other(target, above->path, true);
}

static struct json_object *commit_take_ends(const struct control_target *target,
					    struct json_object *args, struct control_request *r)
{
	struct commit_ends ends = { 0 };
	struct json_object *refusal = commit_take_top(target, args, &ends);

	if (!refusal)
		refusal = commit_take_base(target, args, &ends);
	if (!refusal)
		refusal = commit_check_files(target, &ends);
	if (refusal)
		return refusal;
	r->is_active = !ends.top_depth;
	r->o.top = r->is_active ? NULL : ends.top->path;
	r->o.base = ends.base->path;
	r->o.base_name = control_text(args, "backing-file");
	if (!r->is_active || !r->o.base_name)
		return NULL;
	return control_refuse("GenericError",
			      "'backing-file' specified, but 'top' is the active layer");
}

/* Rates, and whether it verifies, are as the owner's defaults say; what else they say is of
 * pulls. */
static struct bpull_job_options commit_defaults(const struct bpull_job_options *job)
{
	return (struct bpull_job_options){
		.size = sizeof(*job),
		.type = BPULL_JOB_TYPE_COMMIT,
		.flags = job->flags & BPULL_JOB_VERIFY,
		.bandwidth = job->bandwidth,
		.burst = job->burst,
		.guest_share = job->guest_share,
		.iops = job->iops,
		.within_ns = job->within_ns,
		.min_rate = job->min_rate,
		.guest_p99_ns = job->guest_p99_ns,
	};
}

struct json_object *control_block_commit(struct control_target *target, struct json_object *args)
{
	struct control_request r = { .o = commit_defaults(&target->job), .type = "commit" };
	const char *device = control_text(args, "device");
	struct json_object *refusal = control_request_take_id(target, args, &r);

	if (!refusal)
		refusal = commit_check_device(target, device);
	if (!refusal)
		refusal = control_request_check_disk(target, device);
	if (!refusal && !target->top)
		refusal = control_refuse("GenericError", "The chain is not known");
	if (!refusal)
		refusal = commit_take_ends(target, args, &r);
	if (!refusal)
		refusal = control_request_take_rest(target, args, &r);
	return refusal ? refusal : control_request_start(target, &r);
}
