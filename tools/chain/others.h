/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Images that are not of a chain and read from files of it. */
#ifndef TOOLS_CHAIN_OTHERS_H
#define TOOLS_CHAIN_OTHERS_H

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

#include "tools/chain/files.h"

/* Files that are looked at, in all directories together. */
#define OTHERS_MAX 4096

struct others_dir {
	char *path; /* owned */
	dev_t dev;
	ino_t ino;
	struct timespec changed; /* as it was before it was read */
};

struct others {
	char *image;      /* one that was found, or NULL; owned */
	unsigned used;    /* the file of the chain that it reads from */
	bool is_complete; /* every file that could be one was looked at */
	struct others_dir *dirs;
	unsigned n_dirs;
};

/* Looks, in the directories of the image and of the files from `first` to `last`, for an image that
 * the chain has not and that leads to one of those, not by way of a file above them. Only headers
 * of plain files are read, of those that belong to the user who asks or to the owner of one of the
 * chain's files, and no locks are taken. What lies elsewhere is not known. 0, also where none is
 * found, or -ENOMEM; to be freed in both cases. */
int others_find(struct others *others, const struct chain_files *files, unsigned first,
		unsigned last, const struct bpull_disk_options *how);
/* A directory that got or lost a file since then, or NULL. Opens nothing. */
const char *others_changed(const struct others *others);
void others_free(struct others *others);

#endif
