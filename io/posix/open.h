/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From a name to a locked and measured file, and new files. */
#ifndef BLOCKPULL_IO_POSIX_OPEN_H
#define BLOCKPULL_IO_POSIX_OPEN_H

#include <sys/types.h>

struct err;
struct file;
struct file_open;

/* As an opener's open(). */
int posix_open(const struct file_open *how, struct file **out, struct err *err);
/* As an opener's create(), with a mode of its own, of which the process's umask is taken. */
int posix_create(const char *name, mode_t mode, struct file **out, struct err *err);
/* One sentence for each way the system refuses a new file, whose name may be printed as it is. */
int posix_say_not_created(const char *shown, int code, struct err *err);
/* An empty file without a name, in this directory; messages call it `name`.
 * -EOPNOTSUPP, without a sentence: there are no such files here. */
int posix_create_unnamed(int dir_fd, const char *name, mode_t mode, struct file **out,
			 struct err *err);

#endif
