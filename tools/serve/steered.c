/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/serve/steered.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tools/bases/describe.h"
#include "tools/control/state/nodes.h"
#include "tools/serve/fence.h"
#include "tools/words/text.h"

static int steered_resize(void *owner, uint64_t size, struct bpull_error *error)
{
	return port_resize(((const struct steered *)owner)->port, size, error);
}

static void steered_turn_nears(void *owner)
{
	port_flush_beside(((const struct steered *)owner)->port);
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

static const struct control_turns steered_turns = { .near = steered_turn_nears,
						    .begin = steered_chain_turns,
						    .end = steered_chain_turned };

/* NULL: files are opened by their names. */
static struct fd_map *steered_map(const struct steered *s)
{
	const struct bpull_disk_options *disk = &s->options->line.chain.disk;

	return disk->open_file ? disk->open_opaque : NULL;
}

static int steered_check_other(void *owner, const char *path, bool write, struct bpull_error *error)
{
	const struct fd_map *map = steered_map(owner);
	int mode = map ? fd_map_mode(map, path) : -ENOENT;

	if (!map)
		return fence_check(&((const struct steered *)owner)->options->fence, path, error);
	if (mode < 0)
		return text_error(
			error, -EPERM,
			"%s: with --fd-map no file is made, and none is opened by its name: make "
			"an overlay, hand its descriptor over (getfd), and name it with mode "
			"'existing' or in blockdev-add",
			path);
	if (!write || mode == O_RDWR)
		return 0;
	return text_error(
		error, -EACCES,
		"%s: its descriptor was given for reading only, and the job writes to it; nothing "
		"was changed: start the server with one that is open for reading and writing "
		"(--fd-map NAME=N, in a shell N<>FILE)",
		path);
}

static int steered_take_file(void *owner, const char *name, int fd, const struct control_handed *by,
			     struct bpull_error *error)
{
	int rc = fd_map_hand(steered_map(owner), name, fd, by);

	if (rc == -EEXIST)
		return text_error(error, rc, "%s: it has a descriptor already, which is in use",
				  name);
	if (rc == -EMFILE)
		return text_error(error, rc,
				  "%s: too many descriptors wait for a request that names them: "
				  "name some, or close them (closefd)",
				  name);
	return rc ? text_error(error, rc, "%s: %s", name, strerror(-rc)) : 0;
}

static int steered_give_back(void *owner, const char *name, struct bpull_error *error)
{
	int rc = fd_map_take_back(steered_map(owner), name);

	if (rc != -EBUSY)
		return rc;
	return text_error(
		error, rc,
		"%s: its descriptor is in use, and is closed when the chain and blockdev-add have "
		"this file no more",
		name);
}

static bool steered_is_needed(const void *target, const char *name)
{
	return control_path_is_used(target, name);
}

static void steered_settle(void *owner, const struct control_target *target,
			   const struct control_handed *gone)
{
	fd_map_settle(steered_map(owner), gone, steered_is_needed, target);
}

static const struct control_files steered_files = { .take = steered_take_file,
						    .give_back = steered_give_back,
						    .settle = steered_settle };

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
		.files = is_mapped ? &steered_files : NULL,
		.resize = steered_resize,
		.turns = &steered_turns,
		.servers = steered_describe_servers,
		.budget = s->options->budget,
		.owner = s,
	};
}
