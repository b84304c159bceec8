/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From reading a file to writing it, and back. */
#ifndef BLOCKPULL_IO_POSIX_TURN_H
#define BLOCKPULL_IO_POSIX_TURN_H

#include <stdbool.h>

struct err;
struct file;

/* file_ops.turn_begin */
int posix_turn_begin(struct file *file, bool write, struct err *err);
/* file_ops.turn_end */
void posix_turn_end(struct file *file, bool write);

#endif
