/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A directory of the machine's own file system, shared by posix/dir.c and posix/rename.c. */
#ifndef BLOCKPULL_IO_POSIX_DIR_H
#define BLOCKPULL_IO_POSIX_DIR_H

#include <sys/types.h>

#include "io/file/dir.h"

struct posix_dir {
	struct dir dir; /* first: the ops cast back */
	int fd;
	char *prefix;  /* of paths into it: ends in a slash, or is empty */
	bool can_sync; /* else it may be searched, but not read */
	unsigned way;  /* posix/rename.c: the first way of giving a name that was not refused */
	mode_t mode;   /* for the finished file, of 0777 */
};

/* As file_opener.open_dir(). */
int posix_dir_open(struct file_opener *opener, const char *path, struct dir **out, struct err *err);

#endif
