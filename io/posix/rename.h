/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_IO_POSIX_RENAME_H
#define BLOCKPULL_IO_POSIX_RENAME_H

struct posix_dir;

/* The open file `fd`, which is called `from` in there, is called `to` instead; a file of that name
 * is left alone (-EEXIST). 0 or -errno. */
int posix_rename(struct posix_dir *dir, int fd, const char *from, const char *to);

#endif
