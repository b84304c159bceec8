/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_IO_BACKENDS_URING_OPEN_H
#define BLOCKPULL_IO_BACKENDS_URING_OPEN_H

struct uring;

/* Makes u->ring, of u->depth at most. 0 or -errno; -EAGAIN: the kernel can't start threads for
 * it. */
int uring_ring_open(struct uring *u);

#endif
