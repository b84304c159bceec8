/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The files of a chain, as they are before it is changed. */
#ifndef TOOLS_CHAIN_FILES_H
#define TOOLS_CHAIN_FILES_H

#include <stdbool.h>
#include <sys/stat.h>

#include "engine/blockpull.h"

struct chain_file {
	char *path; /* as the chain opens it; owned */
	char *link; /* as the image above records it, or NULL; owned */
	enum bpull_format format;
	uint64_t virtual_size;
	bool has_bitmaps;
	bool is_here;   /* a file of this machine, of which st tells */
	struct stat st; /* of the file, not of a symbolic link to it */
};

/* The image first. */
struct chain_files {
	struct chain_file *list;
	unsigned n;
};

/* Looks at the image's chain. 0, or -errno with a sentence; to be freed in both cases. */
int chain_files_open(struct chain_files *files, const char *image,
		     const struct bpull_disk_options *how, struct bpull_error *error);
void chain_files_free(struct chain_files *files);
/* Makes each file's content durable: its links may be what a process has written that was killed
 * before it could do so. 0, or -errno, and *name is the file that it is about. Blocks. */
int chain_files_sync(const struct chain_files *files, const char **name);
/* The file that a name leads to, or that an image records by it; -1: none. */
int chain_files_find(const struct chain_files *files, const char *name);
/* One of them is the file that `st` tells of; -1: none. */
int chain_files_find_same(const struct chain_files *files, const struct stat *st);

#endif
