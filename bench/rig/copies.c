/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * `dd` was rejected as the peer: it can't start write-back early, which is worth
 * a third of the time here.
 */
#include "bench/rig/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_BACK_LEN (8u << 20)
#define N_SLOTS        16

struct copy {
	const struct copies_job *job;
	const char **what;
	int from, to;
	uint64_t len, done_len;
	char *bufs;
};

static int copies_failed(struct copy *c, const char *what, int code)
{
	*c->what = what;
	return code;
}

static int copies_moved(struct copy *c, const char *what, ssize_t n)
{
	return n == COPIES_CHUNK_LEN ? 0 : copies_failed(c, what, n < 0 ? -errno : -EIO);
}

static void copies_tell(struct copy *c, uint64_t done_len)
{
	if (c->job->progress)
		c->job->progress(c->job->opaque, done_len);
}

static int copies_ceiling(struct copy *c)
{
	for (uint64_t off = 0; off < c->len; off += COPIES_CHUNK_LEN) {
		uint64_t end = off + COPIES_CHUNK_LEN;
		int rc = copies_moved(c, "read", pread(c->from, c->bufs, COPIES_CHUNK_LEN, off));

		if (!rc)
			rc = copies_moved(c, "write",
					  pwrite(c->to, c->bufs, COPIES_CHUNK_LEN, off));
		if (rc)
			return rc;
		if (end % WRITE_BACK_LEN == 0)
			sync_file_range(c->to, end - WRITE_BACK_LEN, WRITE_BACK_LEN,
					SYNC_FILE_RANGE_WRITE);
		copies_tell(c, end);
	}
	return 0;
}

static int copies_submit(struct copy *c, struct io_uring *ring, uint64_t off, uint64_t slot)
{
	char *buf = c->bufs + slot * COPIES_CHUNK_LEN;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int rc;

	io_uring_prep_read(sqe, c->from, buf, COPIES_CHUNK_LEN, off);
	sqe->flags |= IOSQE_IO_LINK; /* a short read cancels its write */
	sqe->user_data = N_SLOTS;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_write(sqe, c->to, buf, COPIES_CHUNK_LEN, off);
	sqe->user_data = slot;
	rc = io_uring_submit(ring);

	return rc < 0 ? copies_failed(c, "submit", rc) : 0;
}

/* *slot is the one whose write has ended. */
static int copies_wait_write(struct copy *c, struct io_uring *ring, uint64_t *slot)
{
	do {
		struct io_uring_cqe *cqe;
		int rc = io_uring_wait_cqe(ring, &cqe);

		if (rc < 0)
			return copies_failed(c, "wait", rc);
		*slot = cqe->user_data;
		if (cqe->res != COPIES_CHUNK_LEN)
			return copies_failed(c, "copy", cqe->res < 0 ? cqe->res : -EIO);
		io_uring_cqe_seen(ring, cqe);
	} while (*slot >= N_SLOTS);
	copies_tell(c, c->done_len += COPIES_CHUNK_LEN);
	return 0;
}

static int copies_ref(struct copy *c)
{
	uint64_t n_busy = 0, slot;
	struct io_uring ring;
	int rc = io_uring_queue_init(2 * N_SLOTS, &ring, 0);

	if (rc < 0)
		return copies_failed(c, "io_uring", rc);
	for (uint64_t off = 0; off < c->len && !rc; off += COPIES_CHUNK_LEN) {
		if (n_busy < N_SLOTS)
			slot = n_busy++;
		else
			rc = copies_wait_write(c, &ring, &slot);
		if (!rc)
			rc = copies_submit(c, &ring, off, slot);
	}
	while (!rc && n_busy--)
		rc = copies_wait_write(c, &ring, &slot);
	io_uring_queue_exit(&ring);
	return rc;
}

static int copies_open(struct copy *c, int is_direct)
{
	struct stat st;

	c->from = open(c->job->from, O_RDONLY | O_CLOEXEC);
	if (c->from < 0 || fstat(c->from, &st))
		return copies_failed(c, c->job->from, -errno);
	c->len = st.st_size;
	if (c->len % COPIES_CHUNK_LEN)
		return copies_failed(c, "the source is not whole MiB", -EINVAL);
	c->to = open(c->job->to,
		     O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | (is_direct ? O_DIRECT : 0), 0600);
	if (c->to < 0)
		return copies_failed(c, c->job->to, -errno);
	c->bufs = aligned_alloc(4096, (size_t)(is_direct ? N_SLOTS : 1) * COPIES_CHUNK_LEN);
	if (!c->bufs)
		return copies_failed(c, "memory", -ENOMEM);
	if (c->len && fallocate(c->to, 0, 0, c->len) && errno != EOPNOTSUPP)
		return copies_failed(c, "fallocate", -errno);
	return 0;
}

enum copies_method copies_best(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(1, &ring, 0) < 0)
		return COPIES_CEILING;
	io_uring_queue_exit(&ring);
	return COPIES_REF;
}

int copies_run(const struct copies_job *job, const char **what)
{
	struct copy c = { .job = job, .what = what, .from = -1, .to = -1 };
	int is_direct = job->method == COPIES_REF;
	int rc = copies_open(&c, is_direct);

	if (!rc)
		rc = is_direct ? copies_ref(&c) : copies_ceiling(&c);
	if (!rc && fsync(c.to))
		rc = copies_failed(&c, "fsync", -errno);
	if (c.from >= 0)
		close(c.from);
	if (c.to >= 0)
		close(c.to);
	free(c.bufs);
	return rc;
}
