/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What wakes the thread that waits for a real backend: nothing that ends is missed,
 * and it sleeps where nothing ends.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "io/backends/backend.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/rigs/backend.h"
#include "tests/support/time_limit.h"

TestSuite(wake, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

/* Linked in place of read(): it waits first when told so, which opens the moment between looking
 * for completions and clearing the wake-up as wide as a test needs it. */
ssize_t __real_read(int fd, void *buf, size_t len);
ssize_t __wrap_read(int fd, void *buf, size_t len);
static useconds_t read_delay_us;

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	if (read_delay_us)
		usleep(read_delay_us);
	return __real_read(fd, buf, len);
}

static int short_work(struct io_req *req)
{
	usleep(1000);
	return 0;
}

/* What completes in that moment is drained but, with so little room, not all taken. */
static void completions_while_draining(enum io_choice choice)
{
	struct io_req reqs[12] = { 0 }, *out[2];
	struct io *io;
	struct err err = { 0 };

	if (io_open(choice, 8, &io, &err))
		scratch_skip("%s", err.message);
	for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
		io_req_work(&reqs[i], short_work);
		io_submit(io, &reqs[i]);
	}
	io_kick(io);
	read_delay_us = 100000;
	io_reap(io, out, 2);
	read_delay_us = 0;
	while (io->n_in_flight) {
		struct pollfd pfd = { .fd = io_fd(io), .events = POLLIN };
		cr_assert_eq(poll(&pfd, 1, 5000), 1, "%u left and no wake-up", io->n_in_flight);
		io_reap(io, out, 2);
	}
	io_close(io);
}

Test(wake, nothing_is_lost_while_draining_uring)
{
	completions_while_draining(IO_CHOICE_URING);
}

Test(wake, nothing_is_lost_while_draining_threads)
{
	completions_while_draining(IO_CHOICE_THREADS);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000) + now.tv_nsec / 1000000;
}

/* One call hands over and sleeps: until a completion, what else is watched, or the time is over. */
Test(wake, waiting_in_the_ring_ends_for_each_reason)
{
	int fds[2], epoll_fd = epoll_create1(0);
	struct io_req work = { 0 }, read = { 0 }, *out[2];
	struct file *file;
	struct io *io;
	uint64_t begin_ms;
	char buf[512];
	struct err err = { 0 };

	if (io_open(IO_CHOICE_URING, 4, &io, &err))
		scratch_skip("%s", err.message);
	cr_assert_eq(file_opener_posix()->create(file_opener_posix(), scratch("disk"), &file, NULL),
		     0);
	file->now.always = false; /* wherever the scratch directory lies */
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[0],
			       &(struct epoll_event){ .events = EPOLLIN }),
		     0);
	cr_assert_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, io_fd(io),
			       &(struct epoll_event){ .events = EPOLLIN }),
		     0);
	io_set_notify(io, false);
	begin_ms = now_ms();
	cr_assert_eq(io_wait(io, epoll_fd, 50), 0);
	cr_assert_geq(now_ms() - begin_ms, 49, "it did not sleep");
	cr_assert_eq(io_reap(io, out, 2), 0);

	/* Fed, not entered. */
	io_req_read(&read, file, buf, sizeof(buf), 0);
	io_submit(io, &read);
	cr_assert(io_feed(io));
	cr_assert_eq(io_wait(io, epoll_fd, 10000), 0);
	cr_assert_eq(io_reap(io, out, 2), 1);
	cr_assert_eq(read.result, 0);

	/* A worker's, through the descriptor; after that it sleeps again. */
	io_req_work(&work, short_work);
	io_submit(io, &work);
	for (unsigned i = 0; i < 5 && io->n_in_flight; i++) {
		cr_assert_eq(io_wait(io, epoll_fd, 10000), 0);
		io_reap(io, out, 2);
	}
	cr_assert_eq(io->n_in_flight, 0, "the worker was not heard");
	begin_ms = now_ms();
	for (unsigned i = 0; i < 3; i++) { /* one may end for nothing */
		cr_assert_eq(io_wait(io, epoll_fd, 50), 0);
		io_reap(io, out, 2);
	}
	cr_assert_geq(now_ms() - begin_ms, 99, "it does not sleep any more");

	/* Something of the caller's own. */
	cr_assert_eq(write(fds[1], "x", 1), 1);
	begin_ms = now_ms();
	cr_assert_eq(io_wait(io, epoll_fd, -1), 0);
	cr_assert_lt(now_ms() - begin_ms, 5000);
	io_reap(io, out, 2);
	file_close(file);
	io_close(io);
	close(epoll_fd);
	close(fds[0]);
	close(fds[1]);
	cr_assert_eq(unlink(scratch("disk")), 0);
}

static struct io *open_ring(struct file **file)
{
	struct err err = { 0 };
	struct io *io;

	if (io_open(IO_CHOICE_URING, 4, &io, &err))
		scratch_skip("%s", err.message);
	cr_assert_eq(file_opener_posix()->create(file_opener_posix(), scratch("disk"), file, NULL),
		     0);
	return io;
}

static void close_ring(struct io *io, struct file *file)
{
	file_close(file);
	io_close(io);
	cr_assert_eq(unlink(scratch("disk")), 0);
}

/* To the kernel a length of 0 is all up to the file's end. */
Test(wake, a_writeback_of_nothing_is_not_the_kernels)
{
	struct io_req req = { 0 }, *out;
	struct file *file;
	struct io *io = open_ring(&file);

	io_req_writeback(&req, file, 0, 4096);
	io_submit(io, &req);
	cr_assert_not(io_feed(io), "it is in the ring");
	cr_assert_eq(io_reap(io, &out, 1), 1);
	cr_assert_eq(req.result, 0);
	close_ring(io, file);
}

/* It ended while no thread waited for the descriptor, which therefore was not told. */
Test(wake, what_ended_before_notifying_is_told)
{
	struct io_req req = { 0 }, *out;
	struct file *file;
	struct io *io = open_ring(&file);
	struct pollfd ready = { .fd = io_fd(io), .events = POLLIN };
	char buf[512];

	io_set_notify(io, false);
	io_req_read(&req, file, buf, sizeof(buf), 0);
	io_submit(io, &req);
	io_kick(io);
	for (unsigned i = 0; i < 5000 && !io_has_done(io); i++)
		poll(NULL, 0, 1);
	cr_assert(io_has_done(io));
	cr_assert_eq(poll(&ready, 1, 0), 0);
	io_set_notify(io, true);
	cr_assert_eq(poll(&ready, 1, 0), 1, "a thread would sleep for ever");
	cr_assert_eq(io_reap(io, &out, 1), 1);
	close_ring(io, file);
}
