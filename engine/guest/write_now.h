/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Guest writes that are over within the call. */
#ifndef BLOCKPULL_GUEST_WRITE_NOW_H
#define BLOCKPULL_GUEST_WRITE_NOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct bpull_disk;

/* True: all of it is written. False: some of it may be, and the write needs a request. */
bool guest_write_now(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
		     uint64_t guest_off, uint32_t flags);

#endif
