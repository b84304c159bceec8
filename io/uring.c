/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The io_uring backend. At most `depth` requests are with the kernel, so that
 * neither ring can overflow; the rest wait in a list of any length. One eventfd
 * serves io_fd(): the kernel signals it for completions, the workers for
 * IO_WORK, and this file for what it finishes itself.
 *
 * SINGLE_ISSUER and DEFER_TASKRUN were rejected: they bind the ring to one
 * thread, but an engine may be opened by one thread, run by another and closed
 * by a third (one after the other). The second thread's requests would fail,
 * and a file could not be taken out of the ring's table, lock and all.
 * COOP_TASKRUN spares the interrupts without that bond.
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
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#include "io/uring.h"
#include "io/wake.h"

#define URING_MAX_DEPTH   4096
#define URING_MAX_WORKERS 16
/* No request of those with the kernel has ended for so long: perhaps none will. */
#define URING_STUCK_S      5
#define URING_BATCH        64         /* completions taken at once */
#define URING_MAX_REFUSALS 1000       /* submissions in a row the kernel had no room for */
#define URING_MAX_TRANSFER (1U << 30) /* bytes a request asks for at once; lengths are 32 bit */

static void uring_prep_vector(struct uring *u, struct io_uring_sqe *sqe, struct io_req *req)
{
	unsigned n;
	const struct iovec *iov = io_req_rest(req, &n);
	uint64_t off = req->off + req->done_len;
	int fd = req->file->fd;
	bool read = req->kind == IO_READ;

	if (n > 1) {
		n = MIN(n, (unsigned)IOV_MAX);
		read ? io_uring_prep_readv(sqe, fd, iov, n, off)
		     : io_uring_prep_writev(sqe, fd, iov, n, off);
		return;
	}
	void *buf = n ? iov->iov_base : NULL;
	unsigned len = n ? (unsigned)MIN(iov->iov_len, (size_t)URING_MAX_TRANSFER) : 0;
	if (uring_tables_holds(u, buf, len))
		read ? io_uring_prep_read_fixed(sqe, fd, buf, len, off, 0)
		     : io_uring_prep_write_fixed(sqe, fd, buf, len, off, 0);
	else
		read ? io_uring_prep_read(sqe, fd, buf, len, off)
		     : io_uring_prep_write(sqe, fd, buf, len, off);
}

static void uring_prep(struct uring *u, struct io_uring_sqe *sqe, struct io_req *req)
{
	switch (req->kind) {
	case IO_READ:
	case IO_WRITE:
		uring_prep_vector(u, sqe, req);
		sqe->rw_flags = req->uncached ? RWF_DONTCACHE : 0;
		break;
	case IO_SYNC: io_uring_prep_fsync(sqe, req->file->fd, IORING_FSYNC_DATASYNC); break;
	case IO_WRITEBACK:
		/* The kernel runs it on its own threads: it may wait for the device's queue. */
		io_uring_prep_sync_file_range(sqe, req->file->fd,
					      (unsigned)MIN(req->len, (uint64_t)URING_MAX_TRANSFER),
					      req->off, SYNC_FILE_RANGE_WRITE);
		break;
	case IO_WORK: abort(); /* never on the ring */
	}
	int slot = uring_tables_slot(u, req->file);
	if (slot >= 0) {
		sqe->fd = slot;
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	/* It did not get through without waiting: let it wait. Or the kernel would copy here and
	 * now what is in the page cache, 50 us for 256 KiB. */
	if (req->n_retries || req->aside)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, req);
}

static void uring_finish(struct uring *u, struct io_req *req, int64_t result)
{
	req->result = result;
	req_list_push(&u->done, req);
	if (!u->quiet)
		wake_signal(u->wake_fd);
}

/* A request of this file's own that is not with the kernel any more; false: it is none of those. */
static bool uring_mark_over(struct uring *u, const void *data)
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

/* Does the kernel have anything that will end? */
static bool uring_owes(const struct uring *u)
{
	return u->n_kernel || u->watches || u->guarded || u->recalling;
}

static void uring_guard(struct uring *u)
{
	struct io_uring_sqe *sqe;

	if (u->guarded || !u->n_kernel || !(sqe = io_uring_get_sqe(&u->ring)))
		return;
	u->guard_time = (struct __kernel_timespec){ .tv_sec = URING_STUCK_S };
	io_uring_prep_timeout(sqe, &u->guard_time, 0, 0);
	io_uring_sqe_set_data(sqe, &u->guarded);
	u->guarded = true;
	u->n_over_before = u->n_over;
}

/* What no thread of the kernel's has begun ends with ECANCELED; what is under way goes on. */
static void uring_recall(struct uring *u)
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
static void uring_feed(struct uring *u)
{
	if (u->stuck) {
		workers_put(u->workers, &u->waiting);
		return;
	}
	while (u->waiting.head && u->n_kernel < u->depth) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
		if (!sqe)
			return;
		uring_prep(u, sqe, req_list_pop(&u->waiting));
		u->n_kernel++;
	}
	uring_guard(u);
}

/* Takes back what the kernel has not looked at; it reads the tail only when entered. */
static void uring_fail_unsubmitted(struct uring *u, int code)
{
	struct io_uring_sq *sq = &u->ring.sq;
	unsigned head = *sq->khead;

	for (unsigned at = head; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *sqe = &sq->sqes[at & sq->ring_mask];
		if (uring_mark_over(u, (void *)(uintptr_t)sqe->user_data))
			continue;
		u->n_kernel--;
		uring_finish(u, (struct io_req *)(uintptr_t)sqe->user_data, code);
	}
	sq->sqe_head = sq->sqe_tail = head;
	*sq->ktail = head;
}

/* The kernel took nothing. Short of memory: again when something completes, or at once if nothing
 * can. Anything else, or too often: every request gets its error, none is left behind. */
static void uring_refused(struct uring *u, int code)
{
	bool passes = code == -EAGAIN || code == -EBUSY || code == -EINTR || code == -ENOMEM;

	if (!passes || ++u->n_refusals > URING_MAX_REFUSALS) {
		uring_fail_unsubmitted(u, code ? code : -EIO);
		u->n_refusals = 0;
	} else if (u->n_kernel <= io_uring_sq_ready(&u->ring)) {
		wake_signal(u->wake_fd);
	}
}

static void uring_enter(struct io *io)
{
	struct uring *u = (struct uring *)io;

	while (io_uring_sq_ready(&u->ring)) {
		int ret = io_uring_submit(&u->ring);
		if (ret <= 0) {
			uring_refused(u, ret);
			return;
		}
		u->n_refusals = 0;
	}
}

static bool uring_queue_waiting(struct io *io)
{
	struct uring *u = (struct uring *)io;

	uring_feed(u);
	return io_uring_sq_ready(&u->ring);
}

static void uring_kick(struct io *io)
{
	uring_feed((struct uring *)io);
	uring_enter(io);
}

static void uring_submit(struct io *io, struct io_req *req)
{
	struct uring *u = (struct uring *)io;
	bool data = req->kind == IO_READ || req->kind == IO_WRITE;

	if (req->kind == IO_WORK || req->off_grid) {
		struct req_list one = { 0 };
		req_list_push(&one, req);
		workers_put(u->workers, &one);
	} else if ((data || req->kind == IO_WRITEBACK) &&
		   (req->off > INT64_MAX || req->len > INT64_MAX - req->off)) {
		/* Here, because the ring takes the offset -1 for the file's own position. */
		uring_finish(u, req, -EINVAL);
	} else if (req->kind == IO_WRITEBACK && !req->len) {
		uring_finish(u, req, 0); /* the kernel would take 0 for "until the end" */
	} else {
		req_list_push(&u->waiting, req);
	}
}

/* One that is over by itself. What wait() watches has become readable: the workers' part of it is
 * looked at next. */
static bool uring_mark_done(struct uring *u, const void *data)
{
	if (!uring_mark_over(u, data))
		return false;
	if (!data)
		wake_drain(u->wake_fd);
	if (data == &u->guarded && u->n_kernel && u->n_over == u->n_over_before)
		uring_recall(u);
	return true;
}

/* True: it is finished, else it goes on waiting. */
static bool uring_attempted(struct uring *u, struct io_req *req, int got)
{
	u->n_kernel--;
	u->n_over++;
	if (got != -ECANCELED)
		return io_req_attempt(req, got);
	u->stuck = true;
	return false;
}

/* Completions off the ring; what is not finished goes back to wait. */
static unsigned uring_collect_ring(struct uring *u, struct io_req **out, unsigned max)
{
	struct io_uring_cqe *cqes[URING_BATCH];
	unsigned n = 0;

	while (n < max && uring_owes(u)) {
		unsigned want = MIN(max - n, (unsigned)URING_BATCH);
		unsigned got = io_uring_peek_batch_cqe(&u->ring, cqes, want);
		for (unsigned i = 0; i < got; i++) {
			struct io_req *req = io_uring_cqe_get_data(cqes[i]);
			if (uring_mark_done(u, req))
				continue;
			if (uring_attempted(u, req, cqes[i]->res))
				out[n++] = req;
			else
				req_list_push(&u->waiting, req);
		}
		io_uring_cq_advance(&u->ring, got);
		if (got < want)
			break;
	}
	return n;
}

static unsigned uring_collect(struct uring *u, struct io_req **out, unsigned max)
{
	unsigned n = req_list_take(&u->done, out, max);
	n += uring_collect_ring(u, out + n, max - n);
	n += workers_take(u->workers, out + n, max - n);
	return n;
}

static unsigned uring_reap(struct io *io, struct io_req **out, unsigned max)
{
	struct uring *u = (struct uring *)io;

	/* What is there is taken without a look at the descriptor: it stays readable, the caller
	 * asks again, and a read for each completion would cost as much as the completion. */
	unsigned n = uring_collect(u, out, max);
	if (!n && !u->quiet) {
		wake_drain(u->wake_fd);
		n = uring_collect(u, out, max);
		if (n == max)
			wake_signal(u->wake_fd); /* there may be more, drained but not taken */
	}
	uring_kick(io); /* room for those waiting, and for what is to be resumed */
	return n;
}

/* What a look at the ring would make the kernel put there. */
static bool uring_has_hidden(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->ring.sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

static bool uring_has_done(const struct io *io)
{
	const struct uring *u = (const struct uring *)io;

	return u->done.head || (uring_owes(u) && io_uring_cq_ready(&u->ring));
}

/* The eventfd is told of completions only while a thread sleeps: telling it, and reading it, cost
 * as much as a small read. What completes between the last look and the flag is found by another
 * look. */
static void uring_tell(struct io *io, bool on)
{
	struct uring *u = (struct uring *)io;

	if (u->quiet == !on)
		return;
	u->quiet = !on;
	io_uring_cq_eventfd_toggle(&u->ring, on);
	if (!on) {
		wake_drain(u->wake_fd);
		return;
	}
	atomic_thread_fence(memory_order_seq_cst);
	if (uring_has_done(io) || uring_has_hidden(u))
		wake_signal(u->wake_fd);
}

/* One system call hands over and sleeps, and what completes wakes the sleeper without a detour
 * through the eventfd, epoll and poll(). */
static int uring_wait(struct io *io, int fd, int timeout_ms)
{
	struct uring *u = (struct uring *)io;
	struct __kernel_timespec ts;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int ret;

	if (uring_has_done(io))
		timeout_ms = 0;
	else if (!u->watches && (sqe = io_uring_get_sqe(&u->ring))) {
		io_uring_prep_poll_add(sqe, fd, POLLIN);
		io_uring_sqe_set_data(sqe, NULL);
		u->watches = true;
	}
	if (!u->watches) /* no room: it may not sleep */
		timeout_ms = 0;
	ts = (struct __kernel_timespec){ .tv_sec = timeout_ms / 1000,
					 .tv_nsec = timeout_ms % 1000 * 1000000 };
	ret = timeout_ms < 0 ? io_uring_submit_and_wait(&u->ring, 1)
			     : io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
	if (ret == -EINTR)
		return ret;
	if (ret < 0 && ret != -ETIME && io_uring_sq_ready(&u->ring))
		uring_refused(u, ret);
	else if (!io_uring_sq_ready(&u->ring))
		u->n_refusals = 0;
	return 0;
}

static int uring_fd(const struct io *io)
{
	return ((const struct uring *)io)->wake_fd;
}

static void uring_destroy(struct io *io)
{
	struct uring *u = (struct uring *)io;
	assert(!u->n_kernel && !u->waiting.head && !u->done.head);
	uring_tables_free(u);
	io_uring_queue_exit(&u->ring);
	workers_free(u->workers);
	close(u->wake_fd);
	free(u);
}

/* Unmaps and closes, no more: what is registered with the ring, and what it does, is the
 * parent's. */
static void uring_leave(struct io *io)
{
	struct uring *u = (struct uring *)io;

	io_uring_queue_exit(&u->ring);
	close(u->wake_fd);
}

static const struct io_ops uring_ops = {
	.name = "uring",
	.outlives = true,
	.submit = uring_submit,
	.kick = uring_kick,
	.feed = uring_queue_waiting,
	.enter = uring_enter,
	.reap = uring_reap,
	.fd = uring_fd,
	.tell = uring_tell,
	.wait = uring_wait,
	.has_done = uring_has_done,
	.use_memory = uring_tables_use_memory,
	.add_file = uring_tables_add_file,
	.forget_file = uring_tables_forget_file,
	.destroy = uring_destroy,
	.leave = uring_leave,
};

/* Frees what it made when it fails. */
static int uring_open(struct uring *u)
{
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n_workers = (unsigned)MIN(MAX(n_cpus, 1L), (long)URING_MAX_WORKERS);

	u->wake_fd = wake_open();
	if (u->wake_fd < 0)
		return u->wake_fd;
	/* Before the kernel's threads: where there is room for one thread alone, it is this. */
	int ret = workers_new(n_workers, io_req_run_here, u->wake_fd, &u->workers);
	if (!ret) {
		ret = uring_ring_open(u);
		if (!ret)
			return 0;
		workers_free(u->workers);
	}
	close(u->wake_fd);
	return ret;
}

static int uring_refused_here(int code, struct err *err)
{
	if (code == -ENOMEM)
		return err_errno(err, code, "cannot set up io_uring");
	if (code == -EAGAIN)
		err_errno(
			err, code,
			"io_uring cannot start the threads that it needs here: the limit on "
			"processes is used up (ulimit -u, or pids.max of the container); raise it, "
			"or choose the threads backend, or leave the choice open");
	else
		err_errno(err, code,
			  "io_uring cannot be used here (a container's filter, "
			  "kernel.io_uring_disabled, or a kernel older than 5.19); choose the "
			  "threads backend or leave the choice open");
	if (err)
		err->code = -ENOTSUP;
	return -ENOTSUP;
}

int io_uring_backend_open(unsigned depth, struct io **out, struct err *err)
{
	struct uring *u = calloc(1, sizeof(*u));
	if (!u)
		return err_errno(err, -ENOMEM, "cannot set up io_uring");
	u->io.ops = &uring_ops;
	u->depth = MIN(MAX(depth, 1u), (unsigned)URING_MAX_DEPTH);
	int ret = uring_open(u);
	if (ret) {
		free(u);
		return uring_refused_here(ret, err);
	}
	uring_tables_init(u);
	*out = &u->io;
	return 0;
}
