/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The way of requests into the ring: the list of those that wait, the entries that the
 * kernel gets, what it refuses, and the timer that finds out whether any request ends.
 *
 * What may wait, each fsync for one, the kernel hands to threads that it makes then,
 * in the place of the thread that submits, and under its limits (RLIMIT_NPROC,
 * pids.max). Without room for one a request ends with ECANCELED, or, with other
 * kernels, never. So opening asks for such a thread, and while requests are with
 * the kernel a timer of the ring looks whether any ends. What the kernel has not
 * begun is called back then and goes to workers of our own, of which one is there
 * from the start; so does all that follows. To have the workers do each fsync from
 * the start was rejected: reads and writes need those threads, too, now and then.
 */
#include "io/backends/uring_queue.h"

#include <limits.h>

#include "io/backends/uring_tables.h"
#include "io/wake.h"

/* Seconds in which no request that the kernel has ended: after that perhaps none will. */
#define STUCK_S      5
#define MAX_REFUSALS 1000       /* submissions in a row the kernel had no room for */
#define MAX_TRANSFER (1U << 30) /* bytes a request asks for at once; lengths are 32 bit */

static void prep_vector(struct uring *u, struct io_uring_sqe *sqe, struct io_req *req)
{
	unsigned n, len;
	const struct iovec *iov = io_req_rest(req, &n);
	uint64_t off = req->off + req->done_len;
	int fd = io_req_fd(req);
	bool read = req->kind == IO_READ;
	void *buf;

	if (n > 1) {
		n = MIN(n, (unsigned)IOV_MAX);
		read ? io_uring_prep_readv(sqe, fd, iov, n, off)
		     : io_uring_prep_writev(sqe, fd, iov, n, off);
		return;
	}
	buf = n ? iov->iov_base : NULL;
	len = n ? (unsigned)MIN(iov->iov_len, (size_t)MAX_TRANSFER) : 0;
	if (uring_tables_holds(u, buf, len))
		read ? io_uring_prep_read_fixed(sqe, fd, buf, len, off, 0)
		     : io_uring_prep_write_fixed(sqe, fd, buf, len, off, 0);
	else
		read ? io_uring_prep_read(sqe, fd, buf, len, off)
		     : io_uring_prep_write(sqe, fd, buf, len, off);
}

static void prep_req(struct uring *u, struct io_uring_sqe *sqe, struct io_req *req)
{
	int slot;

	switch (req->kind) {
	case IO_READ:
	case IO_WRITE:
		prep_vector(u, sqe, req);
		sqe->rw_flags = req->uncached ? RWF_DONTCACHE : 0;
		break;
	case IO_SYNC: io_uring_prep_fsync(sqe, req->file->fd, IORING_FSYNC_DATASYNC); break;
	case IO_WRITEBACK:
		/* The kernel runs it on its own threads: it may wait for the device's queue. */
		io_uring_prep_sync_file_range(sqe, req->file->fd,
					      (unsigned)MIN(req->len, (uint64_t)MAX_TRANSFER),
					      req->off, SYNC_FILE_RANGE_WRITE);
		break;
	case IO_WORK: abort(); /* never on the ring */
	}
	/* The table has the file's first description. */
	slot = req->past_cache ? -1 : uring_tables_slot(u, req->file);
	if (slot >= 0) {
		sqe->fd = slot;
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	/* On a thread of the kernel's: a request that was refused because it would wait, and one
	 * (offload) for which the kernel would copy here what is in the page cache, 50 us for
	 * 256 KiB. */
	if (req->n_retries || req->offload)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, req);
}

void uring_queue_finish(struct uring *u, struct io_req *req, int64_t result)
{
	req->result = result;
	req_list_push(&u->done, req);
	if (!u->quiet)
		wake_signal(u->wake_fd);
}

bool uring_queue_mark_over(struct uring *u, const void *data)
{
	if (!data)
		u->watches = false;
	else if (data == &u->guarded)
		u->guarded = false;
	else if (data == &u->recalling)
		u->recalling = false;
	else
		return false;
	return true;
}

bool uring_queue_owes(const struct uring *u)
{
	return u->n_kernel || u->watches || u->guarded || u->recalling;
}

static void set_guard(struct uring *u)
{
	struct io_uring_sqe *sqe;

	if (u->guarded || !u->n_kernel || !(sqe = io_uring_get_sqe(&u->ring)))
		return;
	u->guard_time = (struct __kernel_timespec){ .tv_sec = STUCK_S };
	io_uring_prep_timeout(sqe, &u->guard_time, 0, 0);
	io_uring_sqe_set_data(sqe, &u->guarded);
	u->guarded = true;
	u->n_over_before = u->n_over;
}

void uring_queue_recall(struct uring *u)
{
	struct io_uring_sqe *sqe;

	u->stuck = true;
	if (u->recalling || !(sqe = io_uring_get_sqe(&u->ring)))
		return;
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
	io_uring_sqe_set_data(sqe, &u->recalling);
	u->recalling = true;
}

/* From the waiting list into the submission ring, as far as the kernel may hold. */
static void feed_ring(struct uring *u)
{
	/* So it is in most rounds of an engine whose reads end at once. */
	if (!u->writes.first && !u->waiting.first && !u->n_kernel)
		return;
	if (u->writes.first)
		writer_put(u->writer, &u->writes);
	if (u->stuck) {
		workers_put(u->lanes.pool ? u->lanes.pool : u->workers, &u->waiting);
		return;
	}
	while (u->waiting.first && u->n_kernel < u->depth) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

		if (!sqe)
			return;
		prep_req(u, sqe, req_list_pop(&u->waiting));
		u->n_kernel++;
	}
	set_guard(u);
}

/* Takes back what the kernel has not looked at; it reads the tail only when entered. */
static void fail_unsubmitted(struct uring *u, int code)
{
	struct io_uring_sq *sq = &u->ring.sq;
	unsigned head = *sq->khead;

	for (unsigned at = head; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *sqe = &sq->sqes[at & sq->ring_mask];
		if (uring_queue_mark_over(u, (void *)(uintptr_t)sqe->user_data))
			continue;
		u->n_kernel--;
		uring_queue_finish(u, (struct io_req *)(uintptr_t)sqe->user_data, code);
	}
	sq->sqe_head = sq->sqe_tail = head;
	*sq->ktail = head;
}

void uring_queue_refused(struct uring *u, int code)
{
	bool passes = code == -EAGAIN || code == -EBUSY || code == -EINTR || code == -ENOMEM;

	if (!passes || ++u->n_refusals > MAX_REFUSALS) {
		fail_unsubmitted(u, code ? code : -EIO);
		u->n_refusals = 0;
	} else if (u->n_kernel <= io_uring_sq_ready(&u->ring)) {
		wake_signal(u->wake_fd);
	}
}

void uring_queue_enter(struct io *io)
{
	struct uring *u = (struct uring *)io;

	while (io_uring_sq_ready(&u->ring)) {
		int rc = io_uring_submit(&u->ring);
		if (rc <= 0) {
			uring_queue_refused(u, rc);
			return;
		}
		u->n_refusals = 0;
	}
}

bool uring_queue_feed(struct io *io)
{
	struct uring *u = (struct uring *)io;

	feed_ring(u);
	return io_uring_sq_ready(&u->ring);
}

void uring_queue_kick(struct io *io)
{
	feed_ring((struct uring *)io);
	uring_queue_enter(io);
}
