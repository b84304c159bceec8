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
 */
#include "io/backends/uring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#include "io/backends/threads.h"
#include "io/backends/uring_open.h"
#include "io/backends/uring_queue.h"
#include "io/backends/uring_submit.h"
#include "io/backends/uring_tables.h"
#include "io/wake.h"

#define MAX_DEPTH 4096
#define BATCH     64 /* completions taken at once */

/* Takes the completion of a request of the backend's own; false: it is none of those. After that of
 * wait() the workers' requests are looked at, so the eventfd is cleared here. */
static bool take_own_request(struct uring *u, const void *data)
{
	if (!uring_queue_mark_over(u, data))
		return false;
	if (!data)
		wake_drain(u->wake_fd);
	if (data == &u->guarded && u->n_kernel && u->n_over == u->n_over_before)
		uring_queue_recall(u);
	return true;
}

/* Takes what one attempt gave. True: the request is finished; false: it must be tried again. */
static bool take_attempt(struct uring *u, struct io_req *req, int got)
{
	u->n_kernel--;
	u->n_over++;
	if (got != -ECANCELED)
		return io_req_attempt(req, got);
	u->stuck = true;
	return false;
}

/* Completions off the ring; what is not finished goes back to wait. */
static unsigned collect_ring(struct uring *u, struct io_req **out, unsigned max)
{
	struct io_uring_cqe *cqes[BATCH];
	unsigned n = 0;

	while (n < max && uring_queue_owes(u)) {
		unsigned want = MIN(max - n, (unsigned)BATCH);
		unsigned got = io_uring_peek_batch_cqe(&u->ring, cqes, want);
		for (unsigned i = 0; i < got; i++) {
			struct io_req *req = io_uring_cqe_get_data(cqes[i]);
			if (take_own_request(u, req))
				continue;
			if (take_attempt(u, req, cqes[i]->res))
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

static unsigned collect_done(struct uring *u, struct io_req **out, unsigned max)
{
	unsigned n = req_list_take(&u->done, out, max);

	n += collect_ring(u, out + n, max - n);
	n += workers_take(u->workers, out + n, max - n);
	if (u->lanes.pool)
		n += workers_take(u->lanes.pool, out + n, max - n);
	if (u->n_writing) {
		unsigned n_written = writer_take(u->writer, out + n, max - n);

		u->n_writing -= n_written;
		n += n_written;
	}
	for (unsigned i = 0; i < n; i++)
		u->ring_writes.n -= out[i]->in_ring;
	return n;
}

static unsigned reap_done(struct io *io, struct io_req **out, unsigned max)
{
	struct uring *u = (struct uring *)io;

	/* What is there is taken without a look at the descriptor: it stays readable, the caller
	 * asks again, and a read for each completion would cost as much as the completion. */
	unsigned n = collect_done(u, out, max);

	if (!n && !u->quiet) {
		wake_drain(u->wake_fd);
		n = collect_done(u, out, max);
		if (n == max)
			wake_signal(u->wake_fd); /* there may be more, drained but not taken */
	}
	uring_queue_kick(io); /* room for those waiting, and for what is to be resumed */
	return n;
}

/* The kernel has completions that it puts into the ring only when it is entered. */
static bool has_hidden(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->ring.sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

static bool has_done(const struct io *io)
{
	const struct uring *u = (const struct uring *)io;

	return u->done.first || (uring_queue_owes(u) && io_uring_cq_ready(&u->ring));
}

/* Switches the signals of the threads beside the ring on or off. */
static void set_threads_notify(struct uring *u, bool on)
{
	workers_set_notify(u->workers, on);
	if (u->lanes.pool)
		workers_set_notify(u->lanes.pool, on);
	if (u->writer)
		writer_set_notify(u->writer, on);
}

/* The eventfd is told of completions only while a thread sleeps: telling it, and reading it, cost
 * as much as a small read. What completes between the last look and the flag is found by another
 * look. */
static void set_notify(struct io *io, bool on)
{
	struct uring *u = (struct uring *)io;

	if (u->quiet == !on)
		return;
	u->quiet = !on;
	io_uring_cq_eventfd_toggle(&u->ring, on);
	set_threads_notify(u, on);
	if (!on) {
		wake_drain(u->wake_fd);
		return;
	}
	atomic_thread_fence(memory_order_seq_cst);
	if (has_done(io) || has_hidden(u))
		wake_signal(u->wake_fd);
}

/* One system call hands over and sleeps, and what completes wakes the sleeper without a detour
 * through the eventfd, epoll and poll(). */
static int wait_in_ring(struct io *io, int fd, int timeout_ms)
{
	struct uring *u = (struct uring *)io;
	struct __kernel_timespec ts;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int rc;

	if (has_done(io))
		timeout_ms = 0;
	else if (!u->watches && (sqe = io_uring_get_sqe(&u->ring))) {
		io_uring_prep_poll_add(sqe, fd, POLLIN);
		io_uring_sqe_set_data(sqe, NULL);
		u->watches = true;
	}
	if (!u->watches) /* no room: it may not sleep */
		timeout_ms = 0;
	if (u->quiet) /* what the threads end must wake this wait, by the eventfd in fd */
		set_threads_notify(u, true);
	ts = (struct __kernel_timespec){ .tv_sec = timeout_ms / 1000,
					 .tv_nsec = timeout_ms % 1000 * 1000000 };
	rc = timeout_ms < 0 ? io_uring_submit_and_wait(&u->ring, 1)
			    : io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
	if (u->quiet)
		set_threads_notify(u, false);
	if (rc == -EINTR)
		return rc;
	if (rc < 0 && rc != -ETIME && io_uring_sq_ready(&u->ring))
		uring_queue_refused(u, rc);
	else if (!io_uring_sq_ready(&u->ring))
		u->n_refusals = 0;
	return 0;
}

static int get_wake_fd(const struct io *io)
{
	return ((const struct uring *)io)->wake_fd;
}

static void destroy_ring(struct io *io)
{
	struct uring *u = (struct uring *)io;

	assert(!u->n_kernel && !u->waiting.first && !u->done.first && !u->writes.first);
	assert(!u->ring_writes.n);
	writer_close(u->writer);
	workers_free(u->lanes.pool);
	uring_tables_free(u);
	io_uring_queue_exit(&u->ring);
	workers_free(u->workers);
	free(u);
}

/* Unmaps and closes, no more: what is registered with the ring, and what it does, is the
 * parent's. */
static void leave_ring(struct io *io)
{
	struct uring *u = (struct uring *)io;

	io_uring_queue_exit(&u->ring);
	workers_leave(u->workers);
}

static const struct io_ops uring_ops = {
	.name = "uring",
	.outlives = true,
	.submit = uring_submit,
	.kick = uring_queue_kick,
	.feed = uring_queue_feed,
	.enter = uring_queue_enter,
	.reap = reap_done,
	.fd = get_wake_fd,
	.set_notify = set_notify,
	.wait = wait_in_ring,
	.has_done = has_done,
	.use_memory = uring_tables_use_memory,
	.add_file = uring_tables_add_file,
	.forget_file = uring_tables_forget_file,
	.destroy = destroy_ring,
	.leave = leave_ring,
};

/* u->workers is set where there are some, also when the ring fails. */
static int open_uring(struct uring *u)
{
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n_workers = (unsigned)MIN(MAX(n_cpus, 1L), (long)WORKERS_MAX);
	int rc;

	/* Before the kernel starts threads: under a limit that leaves room for one thread only,
	 * that must be a worker. */
	rc = workers_new(n_workers, -1, io_req_run_here, &u->workers);
	if (rc)
		return rc;
	u->wake_fd = workers_wake_fd(u->workers);
	return uring_ring_open(u);
}

static int refuse_uring(int code, struct err *err)
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

int io_uring_backend_open(unsigned depth, struct io **out, struct workers **left, struct err *err)
{
	struct uring *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return err_errno(err, -ENOMEM, "cannot set up io_uring");
	u->io.ops = &uring_ops;
	u->depth = MIN(MAX(depth, 1u), (unsigned)MAX_DEPTH);
	rc = open_uring(u);
	if (rc) {
		if (left)
			*left = STEAL(u->workers);
		workers_free(u->workers);
		free(u);
		return refuse_uring(rc, err);
	}
	uring_tables_init(u);
	*out = &u->io;
	return 0;
}
