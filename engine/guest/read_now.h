/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Guest reads that need no waiting. */
#ifndef BLOCKPULL_GUEST_READ_NOW_H
#define BLOCKPULL_GUEST_READ_NOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct bpull_disk;

/* Reads without waiting. True: all is read, and counted. False: the buffers may have been written
 * to, and the read needs a request. */
bool guest_read_now(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
		    uint64_t guest_off);

#endif
