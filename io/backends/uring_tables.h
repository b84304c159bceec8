/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files and memory that are registered with the ring, which saves the kernel a look-up
 * and a page walk a request. It may be refused without harm.
 */
#ifndef BLOCKPULL_IO_BACKENDS_URING_TABLES_H
#define BLOCKPULL_IO_BACKENDS_URING_TABLES_H

#include "io/backends/uring.h"

void uring_tables_init(struct uring *u);
void uring_tables_free(struct uring *u);
/* [buf, buf + len) lies in the registered memory. */
bool uring_tables_holds(const struct uring *u, const void *buf, size_t len);
/* The file's index in the ring's table, or -1. */
int uring_tables_slot(const struct uring *u, const struct file *file);

void uring_tables_use_memory(struct io *io, void *base, size_t len);
void uring_tables_add_file(struct io *io, struct file *file);
void uring_tables_forget_file(struct io *io, struct file *file);

#endif
