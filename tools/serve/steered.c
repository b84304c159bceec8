/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/serve/steered.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

/* NULL: files are opened by their names. */
static struct fd_map *steered_map(const struct steered *s)
{
	return s->options->line.chain.fds.n ? s->options->line.chain.disk.open_opaque : NULL;
}

static int steered_check_other(void *owner, const char *path, struct bpull_error *error)
{
	const struct fd_map *map = steered_map(owner);

	if (!map)
		return fence_check(&((const struct steered *)owner)->options->fence, path, error);
	if (fd_map_was_handed(map, path))
		return 0;
	*error = (struct bpull_error){ .code = -EPERM };
	snprintf(error->message, sizeof(error->message),
		 "%s: with --fd-map no file is made, and none of the chain's below the image is "
		 "written to: make an overlay, hand its descriptor over (getfd), and name it with "
		 "mode 'existing' or in blockdev-add",
		 path);
	return -EPERM;
}

static int steered_take_file(void *owner, const char *name, int fd, struct bpull_error *error)
{
	int rc = fd_map_hand(steered_map(owner), name, fd);

	if (!rc)
		return 0;
	*error = (struct bpull_error){ .code = rc };
	snprintf(error->message, sizeof(error->message), "%s: %s", name,
		 rc == -EEXIST ? "it has a descriptor already" : strerror(-rc));
	return rc;
}

static struct json_object *steered_describe_servers(void *owner)
{
	return bases_describe(&((const struct steered *)owner)->options->line.chain.bases);
}

struct control_target steered_target(struct steered *s, const struct bpull_job_options *job)
{
	const struct bpull_disk_options *disk = &s->options->line.chain.disk;
	bool is_mapped = steered_map(s);

	s->others = (struct bpull_disk_options){ .size = sizeof(s->others) };
	if (is_mapped) {
		s->others.open_file = disk->open_file;
		s->others.open_opaque = disk->open_opaque;
	}
	return (struct control_target){
		.disk = s->port->disk,
		.device = s->options->image,
		.path = s->options->image,
		.how = disk,
		.job = *job,
		.names = &s->options->names,
		.is_inactive = s->options->incoming,
		.stays = true,
		.others = s->options->fence.n || is_mapped ? &s->others : NULL,
		.others_refused = "New images, and files below the image that are written to, need "
				  "a directory that they lie in: serve --snapshot-dir=DIR",
		.check_other = steered_check_other,
		.take_file = is_mapped ? steered_take_file : NULL,
		.resize = steered_resize,
		.chain_turns = steered_chain_turns,
		.chain_turned = steered_chain_turned,
		.servers = steered_describe_servers,
		.budget = s->options->budget,
		.owner = s,
	};
}
