/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reads and writes of files that take no waiting: any thread does them where it stands. */
#ifndef BLOCKPULL_IO_NOW_H
#define BLOCKPULL_IO_NOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct file;

/* What can be read without waiting, in bytes; never an error. */
ssize_t file_read_now(struct file *file, const struct iovec *iov, unsigned n_iov, uint64_t off);
/* Writes over bytes that the file has. True: all is written; without waiting, but where
 * file->now.no_writes: there of whole pages only, so that none is read. False: some of it may be
 * written, and why not the rest only a request can tell. */
bool file_write_now(struct file *file, const struct iovec *iov, unsigned n_iov, size_t len,
		    uint64_t off);

#endif
