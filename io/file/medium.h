/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Devices and file systems that can't be written, for openers. */
#ifndef BLOCKPULL_IO_MEDIUM_H
#define BLOCKPULL_IO_MEDIUM_H

#include <stdbool.h>

struct err;

/* Whether an open file's device, or its file system, is read-only. */
bool medium_is_read_only(int fd, bool is_block);
/* What opening it for writing would say: -EACCES, -EPERM, or 0 where nothing forbids it or it can't
 * be asked. */
int medium_user_denied(int fd);
/* -EACCES with a sentence that names the file; why: file.may_not_write. */
int medium_refuse_user(const char *name, int why, struct err *err);
/* -EROFS with a sentence that names the file or device; real_name may be NULL. */
int medium_refuse(const char *name, const char *real_name, bool is_block, struct err *err);

#endif
