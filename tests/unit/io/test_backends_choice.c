/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which backend is chosen where: the ring refused at the door and after it, or with
 * little memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/backends/backend.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/rigs/backend.h"
#include "tests/support/seccomp.h"
#include "tests/support/time_limit.h"

TestSuite(choice, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

/* The body runs in a child; 77 skips, anything else but 0 is the step that failed. */
static void in_child(int (*body)(int), int arg, const char *what)
{
	int status;
	pid_t pid = fork();
	if (!pid)
		_exit(body(arg));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		scratch_skip("no seccomp filters or no io_uring here");
	cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "%s: step %d, signal %d", what,
		  WEXITSTATUS(status), WTERMSIG(status));
}

static int write_and_read(struct io *io)
{
	struct file_opener *opener = file_opener_posix();
	struct file *file;
	struct io_req req = { 0 }, *out;
	char buf[5];

	if (opener->create(opener, scratch("disk"), &file, NULL))
		return 11;
	for (int i = 0; i < 2; i++) {
		if (i)
			io_req_read(&req, file, buf, 5, 9);
		else
			io_req_write(&req, file, "hello", 5, 9);
		io_submit(io, &req);
		io_kick(io);
		while (!io_reap(io, &out, 1))
			if (poll(&(struct pollfd){ .fd = io_fd(io), .events = POLLIN }, 1, 5000) ==
			    0)
				return 12;
		if (out != &req || req.result != 5)
			return 13;
	}
	file_close(file);
	return unlink(scratch("disk")) || memcmp(buf, "hello", 5) ? 14 : 0;
}

/* 0 or the step that failed. */
static int auto_takes_threads(void)
{
	struct io *io;
	int rc;

	if (io_open(IO_CHOICE_AUTO, 8, &io, NULL))
		return 3;
	if (strcmp(io->ops->name, "threads"))
		return 4;
	rc = write_and_read(io);
	io_close(io);
	return rc;
}

static int refused_at_the_door(int error)
{
	struct io *io;
	struct err err = { 0 };
	int code = error == ENOMEM ? -ENOMEM : -ENOTSUP;

	if (seccomp_deny(SYS_io_uring_setup, -1, error))
		return 77;
	if (io_open(IO_CHOICE_URING, 8, &io, &err) != code || err.code != code)
		return 1;
	if (!strstr(err.message, "io_uring") || !strstr(err.message, strerror(error)))
		return 2;
	return auto_takes_threads();
}

Test(choice, auto_takes_threads_where_the_ring_is_forbidden)
{
	in_child(refused_at_the_door, EPERM, "EPERM");
}

Test(choice, auto_takes_threads_where_the_ring_is_unknown)
{
	in_child(refused_at_the_door, ENOSYS, "ENOSYS");
}

Test(choice, auto_takes_threads_where_memory_is_short)
{
	in_child(refused_at_the_door, ENOMEM, "ENOMEM");
}

/* The ring can be made but not entered: only a round trip finds that out. */
static int refused_inside(int error)
{
	return seccomp_deny(SYS_io_uring_enter, -1, error) ? 77 : auto_takes_threads();
}

Test(choice, auto_takes_threads_where_the_ring_cannot_be_entered)
{
	in_child(refused_inside, EPERM, "EPERM");
}

/* Without the eventfd no thread would be woken, so it is threads again. */
static int no_registration(int error)
{
	return seccomp_deny(SYS_io_uring_register, -1, error) ? 77 : auto_takes_threads();
}

Test(choice, auto_takes_threads_where_nothing_can_be_registered)
{
	in_child(no_registration, EPERM, "EPERM");
}

Test(choice, auto_takes_the_ring_where_it_works)
{
	struct io *io;
	struct err err = { 0 };
	if (io_open(IO_CHOICE_URING, 8, &io, &err))
		scratch_skip("%s", err.message);
	io_close(io);
	cr_assert_eq(io_open(IO_CHOICE_AUTO, 8, &io, &err), 0);
	cr_assert_str_eq(io->ops->name, "uring");
	cr_assert_eq(write_and_read(io), 0);
	io_close(io);
	cr_assert_eq(io_open(77, 8, &io, &err), -EINVAL);
}

Test(choice, any_depth_will_do)
{
	static const unsigned depths[] = { 0, 1, 3, 5000, 1000000 };
	for (unsigned i = 0; i < ARRAY_LEN(depths); i++) {
		struct io *io;
		struct err err = { 0 };
		cr_assert_eq(io_open(IO_CHOICE_THREADS, depths[i], &io, &err), 0, "%s",
			     err.message);
		cr_assert_eq(write_and_read(io), 0);
		io_close(io);
		if (io_open(IO_CHOICE_URING, depths[i], &io, &err))
			continue;
		cr_assert_eq(write_and_read(io), 0);
		io_close(io);
	}
}

/* A ring that stops working: every request ends with an error, none hangs, none is lost. */
static int refused_later(int error)
{
	enum {
		N = 200
	};
	static struct io_req reqs[N];
	static char bufs[N][512];
	struct file_opener *opener = file_opener_posix();
	struct io_req *out[N];
	struct file *file;
	struct io *io;

	if (io_open(IO_CHOICE_URING, 16, &io, NULL))
		return 77;
	if (opener->create(opener, scratch("disk"), &file, NULL))
		return 1;
	file->now.always = false; /* wherever the scratch directory lies */
	if (seccomp_deny(SYS_io_uring_enter, -1, error))
		return 77;
	for (unsigned i = 0; i < N; i++) {
		io_req_read(&reqs[i], file, bufs[i], 512, 0);
		io_submit(io, &reqs[i]);
	}
	io_kick(io);
	for (unsigned n = 0; io->n_in_flight; n++) {
		if (poll(&(struct pollfd){ .fd = io_fd(io), .events = POLLIN }, 1, 5000) == 0)
			return 2;
		io_reap(io, out, 7);
		if (n > 100000)
			return 3;
	}
	for (unsigned i = 0; i < N; i++)
		if (reqs[i].result != -error)
			return 4;
	file_close(file);
	io_close(io);
	return unlink(scratch("disk")) ? 5 : 0;
}

Test(choice, a_ring_refused_later_fails_each_request)
{
	in_child(refused_later, EPERM, "EPERM");
	in_child(refused_later, EBADF, "EBADF");
}

/* Out of memory passes, usually; when it does not, it must not go on for ever. */
Test(choice, a_ring_without_memory_gives_up_in_the_end)
{
	in_child(refused_later, EAGAIN, "EAGAIN");
	in_child(refused_later, ENOMEM, "ENOMEM");
}

static int no_locked_memory(int unused)
{
	static char pool[4 << 20] __attribute__((aligned(4096)));
	struct io *io;

	/* Enough for the ring, too little for the pool; root would be let off. */
	struct rlimit little = { 512 * KiB, 512 * KiB };
	if (setrlimit(RLIMIT_MEMLOCK, &little) || (!getuid() && setuid(65534)))
		return 77;
	if (io_open(IO_CHOICE_URING, 8, &io, NULL))
		return 77;
	io->ops->use_memory(io, pool, sizeof(pool));
	int ret = 0;
	struct io_req req = { 0 }, *out;
	struct file zero = { .fd = open("/dev/zero", O_RDONLY), .io_align = 1, .slot = -1 };
	memset(pool, 'x', sizeof(pool));
	io_req_read(&req, &zero, pool, 4096, 0);
	io_submit(io, &req);
	io_kick(io);
	while (!io_reap(io, &out, 1))
		poll(&(struct pollfd){ .fd = io_fd(io), .events = POLLIN }, 1, 5000);
	if (req.result != 4096 || pool[4095])
		ret = 1;
	io_close(io);
	close(zero.fd);
	return ret;
}

Test(choice, memory_that_may_not_be_locked_is_used_without)
{
	in_child(no_locked_memory, 0, "RLIMIT_MEMLOCK");
}
