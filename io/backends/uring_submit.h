/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which requests the ring does, and which a thread of our own beside it. */
#ifndef BLOCKPULL_IO_BACKENDS_URING_SUBMIT_H
#define BLOCKPULL_IO_BACKENDS_URING_SUBMIT_H

#include "io/backends/uring.h"

/* io_ops.submit */
void uring_submit(struct io *io, struct io_req *req);

#endif
