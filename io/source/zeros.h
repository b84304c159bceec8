/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Zeros that a source tells of: its answers, and the file that keeps them. */
#ifndef BLOCKPULL_IO_SOURCE_ZEROS_H
#define BLOCKPULL_IO_SOURCE_ZEROS_H

struct file;
struct source_file;

/* zeros.c: the file that says which blocks of sf are zeros. -ENOMEM, after which *out, if it
 * is not NULL, is to be closed. */
int source_zeros_new(struct source_file *sf, const char *name, struct file **out);

#endif
