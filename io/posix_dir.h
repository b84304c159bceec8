/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The directory of a file that gets its name when it is finished. */
#ifndef BLOCKPULL_POSIX_DIR_H
#define BLOCKPULL_POSIX_DIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "io/err.h"

struct posix_dir {
	int fd;        /* the owner's to close; -1: none */
	bool can_sync; /* else it may be searched, but not read */
	unsigned way;  /* of giving a name: the first that was not refused */
};

/* The last part of a path. */
const char *posix_last(const char *path);
/* Opens the directory that `path` lies in. 0 or -errno with a sentence. */
int posix_dir_open(struct posix_dir *dir, const char *path, struct err *err);
/* The open file `fd`, which is called `from` in there, is called `to` instead; a file of that name
 * is left alone (-EEXIST). Both names are last parts. Opens nothing. Blocking. 0 or -errno. */
int posix_dir_rename(struct posix_dir *dir, int fd, const char *from, const char *to);
/* Is there a file of this name? */
bool posix_dir_has(const struct posix_dir *dir, const char *name);
/* What was renamed stays renamed after a power cut, as far as the file system can say that; `fd` is
 * a file in it. Blocking. 0 or -errno. */
int posix_dir_sync(const struct posix_dir *dir, int fd);

/* What everyone may do with an open file, of 0777. Where an access list is in force, the bits of
 * the group are those of the list's entry for it, not the mask that stat() shows. 0 or -errno. */
int posix_mode(int fd, mode_t *mode);

#endif
