/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Parts of a vector of buffers. Pure; lengths and offsets are bytes of the vector as a whole. */
#ifndef BLOCKPULL_CORE_IOV_H
#define BLOCKPULL_CORE_IOV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/base.h"

/* As many entries as the kernel takes in one request. */
#define IOV_MAX_ENTRIES 1024

/* It has at most IOV_MAX_ENTRIES entries, and only empty ones are NULL. */
bool iov_is_sound(const struct iovec *iov, int n);
/* The sum of all lengths; UINT64_MAX where it overflows. */
uint64_t iov_len(const struct iovec *iov, unsigned n);
/* Writes the entries of [off, off + len) to `out`, which has room for n. Returns how many. */
unsigned iov_slice(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		   struct iovec *out);
/* Sets [off, off + len) to zeros. */
void iov_zero(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len);
/* Copies len bytes of buf to [off, off + len). */
void iov_fill(const struct iovec *iov, unsigned n, uint64_t off, const void *buf, uint64_t len);

#endif
