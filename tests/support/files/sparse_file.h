/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A file in memory of any length, which takes space only for the pages written
 * to: for tables of 1 GiB and images of many TiB. What was never written is a
 * hole, and is told as one. A file on tmpfs was rejected: the unit tests of
 * formats/ link no I/O backend.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FILES_SPARSE_FILE_H
#define BLOCKPULL_TESTS_SUPPORT_FILES_SPARSE_FILE_H

#include "io/file.h"

/* Zeros, writable. Out of memory ends the test. */
struct file *sparse_file_new(const char *name, uint64_t len);
/* Bytes in pages written to. */
uint64_t sparse_file_used(const struct file *file);
/* Bytes handed to write_at() since it was made. */
uint64_t sparse_file_written(const struct file *file);

#endif
