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
/* Writes over bytes that the file has. True: all is written, without waiting. (With
 * file->now.no_writes that is not certain; there it writes whole pages only, so that none must be
 * read.) False: some of it may be written; a request for all of it tells why the rest was not. */
bool file_write_now(struct file *file, const struct iovec *iov, unsigned n_iov, size_t len,
		    uint64_t off);

#endif
