/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A ring that the kernel refuses to enter now and then: for want of memory, which
 * passes, or for good. The calls into liburing are replaced, so that each refusal
 * comes when a test wants it.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "io/backends/backend.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/rigs/backend.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(uring_refused, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(60));

/* So many refusals in a row would be the end (io/backends/uring_queue.c), and some more. */
#define N_ROUNDS 1200u
#define DEPTH    4u
#define READ_LEN 512u
#define WAIT_MS  20000

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned n, struct __kernel_timespec *limit,
					    sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned n, struct __kernel_timespec *limit,
					    sigset_t *mask);

/* The next calls give this. */
static struct {
	unsigned n;
	int code;
} refusal;

static bool is_refused(void)
{
	if (!refusal.n)
		return false;
	refusal.n--;
	return true;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	return is_refused() ? refusal.code : __real_io_uring_submit(ring);
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned n, struct __kernel_timespec *limit,
					    sigset_t *mask)
{
	if (is_refused())
		return refusal.code;
	return __real_io_uring_submit_and_wait_timeout(ring, cqe, n, limit, mask);
}

struct rig {
	struct io *io;
	struct file *file;
	int epoll_fd, pipe_fds[2]; /* what a caller watches: the ring's descriptor, and its own */
	struct io_req reqs[4 * DEPTH];
	char bufs[4 * DEPTH][READ_LEN];
};

static void watch(const struct rig *rig, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	cr_assert_eq(epoll_ctl(rig->epoll_fd, EPOLL_CTL_ADD, fd, &event), 0);
}

static void rig_open(struct rig *rig)
{
	static const char bytes[READ_LEN];
	struct file_opener *opener = file_opener_posix();
	struct err err = { 0 };

	*rig = (struct rig){ .epoll_fd = epoll_create1(0) };
	if (io_open(IO_CHOICE_URING, DEPTH, &rig->io, &err))
		scratch_skip("%s", err.message);
	cr_assert_eq(opener->create(opener, scratch("disk"), &rig->file, NULL), 0);
	rig->file->now.always = false; /* wherever the scratch directory lies */
	cr_assert_eq(file_write(rig->file, bytes, sizeof(bytes), 0), 0);
	cr_assert_eq(pipe(rig->pipe_fds), 0);
	watch(rig, io_fd(rig->io));
	watch(rig, rig->pipe_fds[0]);
}

static void rig_close(struct rig *rig)
{
	file_close(rig->file);
	io_close(rig->io);
	close(rig->epoll_fd);
	close(rig->pipe_fds[0]);
	close(rig->pipe_fds[1]);
	cr_assert_eq(unlink(scratch("disk")), 0);
}

static void submit_reads(struct rig *rig, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		io_req_read(&rig->reqs[i], rig->file, rig->bufs[i], READ_LEN, 0);
		io_submit(rig->io, &rig->reqs[i]);
	}
}

static void assert_read(const struct rig *rig, unsigned n, const char *what, unsigned round)
{
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(rig->reqs[i].result, READ_LEN, "%s, round %u: read %u gave %d", what,
			     round, i, (int)rig->reqs[i].result);
}

/* As an embedder does: asleep on the descriptor. */
static void wait_on_descriptor(struct rig *rig)
{
	struct pollfd ready = { .fd = io_fd(rig->io), .events = POLLIN };
	struct io_req *out[4 * DEPTH];

	while (rig->io->n_in_flight) {
		cr_assert_eq(poll(&ready, 1, WAIT_MS), 1, "%u left, and nothing says so",
			     rig->io->n_in_flight);
		io_reap(rig->io, out, ARRAY_LEN(out));
	}
}

/* Nothing from before makes the descriptor readable. */
static void forget_wakeups(struct rig *rig)
{
	struct pollfd ready = { .fd = io_fd(rig->io), .events = POLLIN };
	struct io_req *out;

	for (unsigned i = 0; i < 10 && poll(&ready, 1, 0) == 1; i++)
		io_reap(rig->io, &out, 1);
	cr_assert_eq(poll(&ready, 1, 0), 0);
}

/* Asleep in the ring, for a bounded number of times: one may end for nothing. */
static void wait_in_ring(struct rig *rig)
{
	struct io_req *out[4 * DEPTH];

	for (unsigned i = 0; rig->io->n_in_flight && i < 50; i++) {
		cr_assert_eq(io_wait(rig->io, rig->epoll_fd, 1000), 0);
		io_reap(rig->io, out, ARRAY_LEN(out));
		io_feed(rig->io);
	}
	cr_assert_eq(rig->io->n_in_flight, 0, "requests do not end");
}

/* Too many are too many in a row: what the kernel took in between starts anew. Each wakes the
 * thread that is to try again, as nothing else is with the kernel. */
Test(uring_refused, refusals_do_not_add_up_over_kicks)
{
	struct rig rig;

	rig_open(&rig);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		forget_wakeups(&rig);
		submit_reads(&rig, 1);
		refusal.n = 1;
		refusal.code = round % 2 ? -EAGAIN : -EBUSY;
		io_kick(rig.io);
		cr_assert_eq(refusal.n, 0);
		wait_on_descriptor(&rig);
		assert_read(&rig, 1, "kick", round);
	}
	rig_close(&rig);
}

Test(uring_refused, refusals_do_not_add_up_over_waits)
{
	struct rig rig;

	rig_open(&rig);
	io_set_notify(rig.io, false);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		submit_reads(&rig, 1);
		io_feed(rig.io);
		refusal.n = 1;
		refusal.code = -ENOMEM;
		cr_assert_eq(io_wait(rig.io, rig.epoll_fd, 1000), 0);
		cr_assert_eq(refusal.n, 0);
		cr_assert_eq(io_wait(rig.io, rig.epoll_fd, 1000), 0);
		wait_in_ring(&rig);
		assert_read(&rig, 1, "wait", round);
	}
	rig_close(&rig);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The requests get the error; the ring's own, to watch the caller's descriptor and to look for what
 * never ends, are taken back with them, counted by none, and come again with the next wait. */
Test(uring_refused, what_is_taken_back_is_asked_for_again)
{
	struct io_req *out[4 * DEPTH];
	struct rig rig;
	uint64_t begin_ms;

	rig_open(&rig);
	io_set_notify(rig.io, false);
	for (unsigned round = 0; round < 10; round++) {
		unsigned n = round % (DEPTH + 1), n_done = 0;

		submit_reads(&rig, n);
		io_feed(rig.io);
		refusal.n = 1;
		refusal.code = -EBADF;
		cr_assert_eq(io_wait(rig.io, rig.epoll_fd, WAIT_MS), 0);
		n_done = io_reap(rig.io, out, ARRAY_LEN(out));
		cr_assert_eq(n_done, n, "round %u: %u of %u", round, n_done, n);
		for (unsigned i = 0; i < n; i++)
			cr_assert_eq(rig.reqs[i].result, -EBADF);

		cr_assert_eq(write(rig.pipe_fds[1], "x", 1), 1);
		begin_ms = now_ms();
		cr_assert_eq(io_wait(rig.io, rig.epoll_fd, WAIT_MS), 0);
		cr_assert_lt(now_ms() - begin_ms, WAIT_MS / 2, "the descriptor is not watched");
		cr_assert_eq(read(rig.pipe_fds[0], rig.bufs[0], 1), 1);
		cr_assert_eq(io_reap(rig.io, out, ARRAY_LEN(out)), 0);

		submit_reads(&rig, 4 * DEPTH);
		io_feed(rig.io);
		wait_in_ring(&rig);
		assert_read(&rig, 4 * DEPTH, "after it", round);
	}
	rig_close(&rig);
}

/* The next one is the first of a new row. */
Test(uring_refused, after_too_many_one_is_borne_again)
{
	struct rig rig;

	rig_open(&rig);
	for (unsigned round = 0; round < 3; round++) {
		submit_reads(&rig, 1);
		refusal.n = 100 * N_ROUNDS;
		refusal.code = -EAGAIN;
		io_kick(rig.io);
		wait_on_descriptor(&rig);
		cr_assert_eq(rig.reqs[0].result, -EAGAIN);
		submit_reads(&rig, 1);
		refusal.n = 1;
		io_kick(rig.io);
		wait_on_descriptor(&rig);
		assert_read(&rig, 1, "the next", round);
	}
	rig_close(&rig);
}

/* Some kernels never end what they have no thread for; here it is a pipe that nothing comes from.
 * The timer that finds that out was taken back once. */
Test(uring_refused, what_never_ends_is_called_back_after_a_refusal)
{
	struct file pipe_end = { .len = 4096, .io_align = 1, .slot = -1 };
	struct io_req req = { 0 };
	struct rig rig;

	rig_open(&rig);
	submit_reads(&rig, 1);
	refusal.n = 1;
	refusal.code = -EBADF;
	io_kick(rig.io);
	wait_on_descriptor(&rig);
	cr_assert_eq(rig.reqs[0].result, -EBADF);
	pipe_end.fd = rig.pipe_fds[0];
	io_req_read(&req, &pipe_end, rig.bufs[0], READ_LEN, 0);
	req.offload = true;
	io_submit(rig.io, &req);
	io_kick(rig.io);
	wait_on_descriptor(&rig);
	cr_expect_eq(req.result, -ESPIPE);
	rig_close(&rig);
}
