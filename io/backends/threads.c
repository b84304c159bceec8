/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The backend for places that forbid io_uring, as many containers do: the same
 * requests, each run by a worker with preadv, pwritev and fdatasync until it is
 * done. Order means as little here as there.
 *
 * POSIX AIO was rejected: glibc's is the same pool of threads, without vectors,
 * bounds or a descriptor to wait on.
 */
#include "io/backends/threads.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>

#include "io/backends/workers.h"
#include "io/base.h"
#include "io/io.h"
#include "io/libc.h"
#include "io/unaligned.h"
#include "io/wake.h"

struct threads {
	struct io io;            /* first: the ops cast back */
	struct req_list waiting; /* submitted, not kicked */
	struct workers *workers;
};

/* One system call's worth of a request: bytes, or -errno. */
static int64_t attempt_call(struct io_req *req)
{
	off_t off = (off_t)(req->off + req->done_len);
	unsigned n = 0;
	const struct iovec *iov;
	int64_t got = 0;

	switch (req->kind) {
	case IO_READ:
		iov = io_req_rest(req, &n);
		got = preadv(io_req_fd(req), iov, (int)MIN(n, (unsigned)IOV_MAX), off);
		break;
	case IO_WRITE:
		iov = io_req_rest(req, &n);
		n = MIN(n, (unsigned)IOV_MAX);
		/* pwritev2(), unlike pwritev(), takes the offset -1 for the file's own position. */
		got = req->uncached && off >= 0
			      ? libc_pwritev2(req->file->fd, iov, (int)n, off, RWF_DONTCACHE)
			      : pwritev(req->file->fd, iov, (int)n, off);
		break;
	case IO_SYNC: got = fdatasync(req->file->fd); break;
	case IO_WRITEBACK:
		if (req->len) /* 0 would mean: until the end */
			got = sync_file_range(req->file->fd, (off_t)req->off, (off_t)req->len,
					      SYNC_FILE_RANGE_WRITE);
		break;
	case IO_WORK: return req->work(req);
	}
	return got < 0 ? -errno : got;
}

void io_req_run_here(struct io_req *req)
{
	if (req->unaligned)
		io_req_run_unaligned(req);
	else
		while (!io_req_attempt(req, attempt_call(req)))
			;
}

static void queue_req(struct io *io, struct io_req *req)
{
	struct threads *t = (struct threads *)io;
	req_list_push(&t->waiting, req);
}

static void hand_over(struct io *io)
{
	struct threads *t = (struct threads *)io;
	workers_put(t->workers, &t->waiting);
}

static int wake_fd_of(const struct io *io)
{
	return workers_wake_fd(((const struct threads *)io)->workers);
}

static unsigned reap_workers(struct io *io, struct io_req **out, unsigned max)
{
	struct threads *t = (struct threads *)io;
	unsigned n;

	hand_over(io);
	n = workers_take(t->workers, out, max);
	if (n == max)
		return n; /* the descriptor stays readable for the rest */
	wake_drain(wake_fd_of(io));
	n += workers_take(t->workers, out + n, max - n);
	if (n == max)
		wake_signal(wake_fd_of(io));
	return n;
}

static void set_pool_notify(struct io *io, bool on)
{
	workers_set_notify(((struct threads *)io)->workers, on);
}

/* The hints to register memory and files end here: threads have nothing to register with. */
static void ignore_memory(struct io *io, void *base, size_t len)
{
}

static void ignore_file(struct io *io, struct file *file)
{
}

static void destroy_threads(struct io *io)
{
	struct threads *t = (struct threads *)io;
	assert(!t->waiting.first);
	workers_free(t->workers);
	free(t);
}

static void leave_threads(struct io *io)
{
	workers_leave(((struct threads *)io)->workers);
}

static const struct io_ops threads_ops = {
	.name = "threads",
	.submit = queue_req,
	.kick = hand_over,
	.reap = reap_workers,
	.fd = wake_fd_of,
	.set_notify = set_pool_notify,
	.use_memory = ignore_memory,
	.add_file = ignore_file,
	.forget_file = ignore_file,
	.destroy = destroy_threads,
	.leave = leave_threads,
};

static int refuse_threads(int code, struct err *err)
{
	if (code != -EAGAIN)
		return err_errno(err, code, "cannot start the I/O threads");
	return err_errno(
		err, code,
		"not a single thread may be started here: the limit on processes is used up "
		"(ulimit -u, or pids.max of the container); raise it, or end what uses it");
}

int io_threads_backend_open(unsigned n_threads, struct workers *workers, struct io **out,
			    struct err *err)
{
	struct threads *t = calloc(1, sizeof(*t));
	int rc = t ? 0 : -ENOMEM;

	if (!rc && !workers)
		rc = workers_new(n_threads, -1, io_req_run_here, &workers);
	if (rc) {
		workers_free(workers);
		free(t);
		return refuse_threads(rc, err);
	}
	workers_set_max(workers, n_threads);
	t->io.ops = &threads_ops;
	t->workers = workers;
	*out = &t->io;
	return 0;
}
