/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* --fd-map NAME=N: descriptors that the command was started with stand for the files of a chain. */
#ifndef TOOLS_CLI_FD_MAP_H
#define TOOLS_CLI_FD_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/blockpull.h"

struct fd_map_entry {
	char *name; /* as the chain comes to the file, or as the image above records it; owned */
	char *path; /* as it was asked for last, where that is another name; owned, or NULL */
	int fd;     /* the command's; each opening gets a copy */
	bool used;
	bool is_needed; /* a layer, or a node that a client added, has the file */
	const void *by; /* the client that handed it over; NULL: it was there at the start */
};

/* So many may wait until a request names them. */
#define FD_MAP_MAX_UNUSED 64

/* What was said so far; begin with zeros, and free it. */
struct fd_map {
	struct fd_map_entry *list;
	size_t n;
};

/* Takes one value of the verb's option. 0, or an exit code after saying what is wrong. */
int fd_map_take(struct fd_map *map, const char *command, const char *text);
/* Takes over a descriptor that came later, of the client `by` (not NULL), in the place of one of
 * that name that is not needed yet. -EEXIST: the name has one that is; -EMFILE: FD_MAP_MAX_UNUSED
 * are not needed; -ENOMEM. */
int fd_map_hand(struct fd_map *map, const char *name, int fd, const void *by);
/* Closes one that was handed over and is not needed. -ENOENT; -EBUSY: it is. */
int fd_map_take_back(struct fd_map *map, const char *name);
/* The open mode (O_ACCMODE) of the name's descriptor, or -ENOENT. */
int fd_map_mode(const struct fd_map *map, const char *name);
/* Closes what is not needed any more, and what the client `gone` handed over and nothing needs. */
void fd_map_settle(struct fd_map *map, const void *gone,
		   bool (*is_needed)(const void *opaque, const char *name), const void *opaque);
/* Puts it into the options, which use it from then on: no name is opened any more. Nothing where
 * there is none. */
void fd_map_apply(struct fd_map *map, struct bpull_disk_options *options);
/* An image was opened with these options: -EINVAL with a sentence where a NAME was not asked for.
 */
int fd_map_judge(const struct bpull_disk_options *options, struct bpull_error *error);
void fd_map_free(struct fd_map *map);

#endif
