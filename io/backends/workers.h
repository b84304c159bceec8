/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A bounded pool of threads that run requests to their end: everything for the
 * threads backend, IO_WORK and some writes for uring. Put and take are the owner thread's.
 *
 * Buffered writes to one file, where they wait, run one after the other: in the kernel they would
 * wait for each other, and a file that is slow, or hangs, has one thread and not all of them.
 */
#ifndef BLOCKPULL_IO_BACKENDS_WORKERS_H
#define BLOCKPULL_IO_BACKENDS_WORKERS_H

#include "io/req_list.h"

#define WORKERS_MAX 16

struct workers;

/* run sets req->result, on any worker. One thread is started at once, so that whatever is put later
 * ends; more, up to max_threads (1 to WORKERS_MAX), when there is work for them and the system lets
 * them start. wake_fd (wake.h) stays the caller's; -1: the pool makes its own. 0 or -errno; -EAGAIN
 * where not even one may be started. */
int workers_new(unsigned max_threads, int wake_fd, void (*run)(struct io_req *req),
		struct workers **out);
/* Another bound, for a pool that goes on in another backend. Nothing was put yet. */
void workers_set_max(struct workers *workers, unsigned max_threads);
/* The pool's eventfd: signalled when finished requests begin to wait for
 * workers_take(). */
int workers_wake_fd(const struct workers *workers);
/* Takes over all of the list. */
void workers_put(struct workers *workers, struct req_list *list);
/* Switches the signals of the eventfd on or off; they are on at first. Switched on, the pool
 * signals at once if requests have finished meanwhile. */
void workers_set_notify(struct workers *workers, bool on);
unsigned workers_take(struct workers *workers, struct io_req **out, unsigned max);
/* Nothing may be queued or running. */
void workers_free(struct workers *workers);
/* In a child of fork(), which has the pool's descriptor and no thread. The memory stays. */
void workers_leave(struct workers *workers);

#endif
