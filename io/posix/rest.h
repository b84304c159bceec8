/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What of an open file is of this moment, and its turns from reading to writing and back. */
#ifndef BLOCKPULL_IO_POSIX_REST_H
#define BLOCKPULL_IO_POSIX_REST_H

#include "io/posix/file.h"

/* posix/rest.c: file_ops.rest, file_ops.wake, and what of these a file's opening needs. */
void posix_rest(struct file *file);
int posix_wake(struct file *file, unsigned lock_wait_ms, struct err *err);
/* posix/turn.c: file_ops.turn, file_ops.turned. */
int posix_turn(struct file *file, bool write, struct err *err);
void posix_turned(struct file *file, bool write);
/* file_lock_take(), asking again for a while. */
int posix_take_locks(struct file *file, enum file_lock lock, unsigned wait_ms, bool *unsupported,
		     struct err *err);
/* Size and time as they are now, that is under the lock. 0 or -errno. */
int posix_ask_size(const struct file *file, struct posix_size *out);
/* The file has them from then on. */
int posix_measure(struct file *file);
/* Of one that is only read. A watch needs a name, if only one of /proc. */
void posix_begin_watch(struct posix_file *pf);

#endif
