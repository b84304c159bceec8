/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From reading a file to writing it, and back. */
#ifndef BLOCKPULL_IO_POSIX_TURN_H
#define BLOCKPULL_IO_POSIX_TURN_H

#include <stdbool.h>

struct err;
struct file;

/* file_ops.turn */
int posix_turn(struct file *file, bool write, struct err *err);
/* file_ops.turned */
void posix_turned(struct file *file, bool write);

#endif
