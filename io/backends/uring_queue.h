/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Between a request that was submitted and the kernel. All calls are the owner thread's. */
#ifndef BLOCKPULL_IO_BACKENDS_URING_QUEUE_H
#define BLOCKPULL_IO_BACKENDS_URING_QUEUE_H

#include "io/backends/uring.h"

/* Puts waiting requests into the submission ring, at most as many as the kernel may hold. True: the
 * kernel is to be told of some, by uring_queue_enter(). */
bool uring_queue_feed(struct io *io);
void uring_queue_enter(struct io *io);
/* Feeds, and then enters. */
void uring_queue_kick(struct io *io);

/* The kernel took no request and answered this code. Where it lacks memory, it is asked again when
 * something completes, or at once if nothing can. After another code, or too many of these, each
 * request in the submission ring fails with it. */
void uring_queue_refused(struct uring *u, int code);
/* Cancels the requests that the kernel has not begun; the workers do them. */
void uring_queue_recall(struct uring *u);
/* The request ended without the kernel. */
void uring_queue_finish(struct uring *u, struct io_req *req, int64_t result);
/* A request of the backend's own is not with the kernel any more; false: it is none of those. */
bool uring_queue_mark_over(struct uring *u, const void *data);
/* The kernel has requests that will end. */
bool uring_queue_owes(const struct uring *u);

#endif
