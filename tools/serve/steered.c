/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/serve/steered.h"

#include "tools/bases/describe.h"
#include "tools/serve/fence.h"

static int steered_resize(void *owner, uint64_t size, struct bpull_error *error)
{
	return port_resize(((const struct steered *)owner)->port, size, error);
}

static void steered_chain_turns(void *owner)
{
	durable_forget(&((const struct steered *)owner)->port->durable);
}

static void steered_chain_turned(void *owner, const struct control_node *top)
{
	const struct steered *s = owner;

	image_turn(s->image, top->path, top->format, s->port);
}

static int steered_check_other(void *owner, const char *path, struct bpull_error *error)
{
	return fence_check(&((const struct steered *)owner)->options->fence, path, error);
}

static struct json_object *steered_describe_servers(void *owner)
{
	return bases_describe(&((const struct steered *)owner)->options->line.chain.bases);
}

struct control_target steered_target(struct steered *s, const struct bpull_job_options *job)
{
	static const struct bpull_disk_options others = { .size = sizeof(others) };

	return (struct control_target){
		.disk = s->port->disk,
		.device = s->options->image,
		.path = s->options->image,
		.how = &s->options->line.chain.disk,
		.job = *job,
		.names = &s->options->names,
		.is_inactive = s->options->incoming,
		.stays = true,
		.others = s->options->fence.n ? &others : NULL,
		.others_refused = "New images, and files below the image that are written to, need "
				  "a directory that they lie in: serve --snapshot-dir=DIR",
		.check_other = steered_check_other,
		.resize = steered_resize,
		.chain_turns = steered_chain_turns,
		.chain_turned = steered_chain_turned,
		.servers = steered_describe_servers,
		.budget = s->options->budget,
		.owner = s,
	};
}
