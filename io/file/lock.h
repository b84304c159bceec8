/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* QEMU's locks on an open file, which other programs look at. */
#ifndef BLOCKPULL_IO_LOCK_H
#define BLOCKPULL_IO_LOCK_H

#include <stdbool.h>

struct err;
struct file;

enum file_lock {
	FILE_LOCK_NONE,    /* only looking, with --force-share */
	FILE_LOCK_SHARED,  /* a backing file or a reader: bytes 100, 201, 203 */
	FILE_LOCK_OVERLAY, /* the image being pulled: bytes 100-103, 201, 203 */
};

/* Takes QEMU's own OFD lock bytes on an open file and looks for conflicting holders.
 * 0; -EBUSY with a sentence naming the file; 0 with *unsupported set where the file system has
 * no OFD locks. */
int file_lock_take(struct file *file, enum file_lock kind, bool *unsupported, struct err *err);
/* Gives back what file_lock_take() took, before the descriptor is closed. Closing alone would not:
 * a child of fork() has the same open file description, and the locks are the description's. */
void file_lock_drop(struct file *file);
/* Has `to` where it has `from`, with no moment between in which it has neither. 0; -EBUSY with a
 * sentence; on error it has `from`. Where `to` is a part of `from` it can't fail. */
int file_lock_change(struct file *file, enum file_lock from, enum file_lock to, struct err *err);

#endif
