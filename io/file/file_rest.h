/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An open file that others may change, or have: looking at it, giving it up for a time, closing
 * it. */
#ifndef BLOCKPULL_IO_FILE_REST_H
#define BLOCKPULL_IO_FILE_REST_H

#include <stdbool.h>

#include "io/file.h"

/* Whether the file was written to since it was opened; FILE_SAME where that can't be told. After a
 * touch, which is no change, mtime_ns is set to its time. Not for files we write ourselves. Never
 * sleeps: FILE_UNSURE may be answered for some milliseconds, until what the kernel notes of the
 * file can be trusted. */
enum file_state file_look(struct file *file);
/* True: FILE_CHANGED. Sleeps for some milliseconds where file_look() is unsure. */
bool file_changed(struct file *file);
/* Gives its locks back: other programs may change it from then on. It stays open, and nothing is
 * read or written before file_wake(). */
void file_rest(struct file *file);
/* Takes the locks again, and its length and time as they are now; what the page cache of another
 * machine's file system kept of it is dropped. 0; -EBUSY: another program has it, also after
 * lock_wait_ms; -errno, each with a sentence. */
int file_wake(struct file *file, unsigned lock_wait_ms, struct err *err);
/* A backing file becomes one that is written to, with an overlay's locks, or the other way round.
 * Its descriptor keeps its number, so what was submitted before goes on; a ring that has it
 * registered must forget it before. It does not rest. 0; -EBUSY: another program has it; -EACCES,
 * -EROFS and the like: it can't be written to; each with a sentence, and it is as it was. */
int file_turn(struct file *file, bool write, struct err *err);
/* The same in two steps, for a file that others read meanwhile. The first blocks, on any thread and
 * without a lock; the second changes what the readers see, under their lock. After a first step
 * that failed the second does nothing. */
int file_turn_begin(struct file *file, bool write, struct err *err);
void file_turn_end(struct file *file, bool write);
/* Appends a list of files (by next_closing; NULL is allowed) to the list *to. */
void file_list_append(struct file **to, struct file *files);
/* Closes all files of a list (by next_closing), on any thread: nothing else uses them any more. */
void file_close_all(struct file *files);
/* For a child of fork(), which can use the file no more; its memory stays. Idempotent. */
void file_leave(struct file *file);

#endif
