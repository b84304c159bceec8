/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What an open file has for a time only: locks, length and time, a watch. */
#ifndef BLOCKPULL_IO_POSIX_REST_H
#define BLOCKPULL_IO_POSIX_REST_H

#include "io/posix/file.h"

/* file_ops.rest */
void posix_rest(struct file *file);
/* file_ops.wake */
int posix_wake(struct file *file, unsigned lock_wait_ms, struct err *err);
/* file_lock_take(), tried again for wait_ms while another program has the lock. */
int posix_take_locks(struct file *file, enum file_lock lock, unsigned wait_ms, bool *unsupported,
		     struct err *err);
/* Asks the system for length and time: as they are now, so under the lock. 0 or -errno. */
int posix_ask_size(const struct file *file, struct posix_size *out);
/* posix_ask_size() into the file itself. */
int posix_measure(struct file *file);
/* Watches a file that is only read, unless the program gave it: a watch needs a name, if only one
 * in /proc. */
void posix_begin_watch(struct posix_file *pf);

#endif
