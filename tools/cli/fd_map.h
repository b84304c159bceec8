/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* --fd-map NAME=N: descriptors that the command was started with stand for the files of a chain. */
#ifndef TOOLS_CLI_FD_MAP_H
#define TOOLS_CLI_FD_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/blockpull.h"

struct fd_map_entry {
	char *name; /* as the chain comes to the file, or as the image above records it; owned */
	int fd;     /* the command's; each opening gets a copy */
	bool used;
	bool handed; /* while it runs, by a client: the map's to close */
};

/* What was said so far; begin with zeros, and free it. */
struct fd_map {
	struct fd_map_entry *list;
	size_t n;
};

/* Takes one value of the verb's option. 0, or an exit code after saying what is wrong. */
int fd_map_take(struct fd_map *map, const char *command, const char *text);
/* Takes over a descriptor that came later. -EEXIST: the name has one; -ENOMEM. */
int fd_map_hand(struct fd_map *map, const char *name, int fd);
/* The name's descriptor was handed over later. */
bool fd_map_was_handed(const struct fd_map *map, const char *name);
/* Puts it into the options, which use it from then on: no name is opened any more. Nothing where
 * there is none. */
void fd_map_apply(struct fd_map *map, struct bpull_disk_options *options);
/* An image was opened with these options: -EINVAL with a sentence where a NAME was not asked for.
 */
int fd_map_judge(const struct bpull_disk_options *options, struct bpull_error *error);
void fd_map_free(struct fd_map *map);

#endif
