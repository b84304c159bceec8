/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which backend is chosen where, and what only the real ones can show: the
 * ring refused at the door and after it, direct I/O, locks that end in time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/backend.h"
#include "tests/support/seccomp.h"
#include "tests/support/time_limit.h"

TestSuite(choice, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

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

Test(choice, nothing_is_lost_while_draining_uring)
{
	completions_while_draining(IO_CHOICE_URING);
}

Test(choice, nothing_is_lost_while_draining_threads)
{
	completions_while_draining(IO_CHOICE_THREADS);
}

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
	return opener->remove(opener, scratch("disk")) || memcmp(buf, "hello", 5) ? 14 : 0;
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
	if (io_open(IO_CHOICE_AUTO, 8, &io, &err))
		return 3;
	if (strcmp(io->ops->name, "threads"))
		return 4;
	int ret = write_and_read(io);
	io_close(io);
	return ret;
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
	struct io *io;
	if (seccomp_deny(SYS_io_uring_enter, -1, error))
		return 77;
	if (io_open(IO_CHOICE_AUTO, 8, &io, NULL))
		return 1;
	if (strcmp(io->ops->name, "threads"))
		return 2;
	int ret = write_and_read(io);
	io_close(io);
	return ret;
}

Test(choice, auto_takes_threads_where_the_ring_cannot_be_entered)
{
	in_child(refused_inside, EPERM, "EPERM");
}

static int no_registration(int error)
{
	struct io *io;
	if (seccomp_deny(SYS_io_uring_register, -1, error))
		return 77;
	if (io_open(IO_CHOICE_AUTO, 8, &io, NULL))
		return 1;
	/* Without the eventfd no thread would be woken, so it is threads again. */
	if (strcmp(io->ops->name, "threads"))
		return 2;
	int ret = write_and_read(io);
	io_close(io);
	return ret;
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
	return opener->remove(opener, scratch("disk")) ? 5 : 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000) + now.tv_nsec / 1000000;
}

/* One call hands over and sleeps: until a completion, what else is watched, or the time is over. */
Test(choice, waiting_in_the_ring)
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
	cr_assert_eq(file_opener_posix()->remove(file_opener_posix(), scratch("disk")), 0);
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
	cr_assert_eq(file_opener_posix()->remove(file_opener_posix(), scratch("disk")), 0);
}

/* To the kernel a length of 0 is all up to the file's end. */
Test(choice, a_writeback_of_nothing_is_not_the_kernels)
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
Test(choice, what_ended_before_notifying_is_told)
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

/* The ring keeps a file a little longer than we do; its locks must not stay. */
Test(choice, a_registered_file_gives_its_locks_back_at_once)
{
	struct file_opener *opener = file_opener_posix();
	const char *path = scratch_file("disk", "abc", 3);
	struct io *io;
	struct err err = { 0 };
	if (io_open(IO_CHOICE_URING, 8, &io, &err))
		scratch_skip("%s", err.message);
	for (int i = 0; i < 200; i++) {
		struct file *file;
		struct io_req req = { 0 }, *out;
		char buf[3];
		struct file_open how = {
			.name = path, .write = true, .lock = FILE_LOCK_OVERLAY, .outlives = true
		};
		cr_assert_eq(opener->open(opener, &how, &file, &err), 0, "round %d: %s", i,
			     err.message);
		io->ops->add_file(io, file);
		cr_assert_geq(file->slot, 0);
		io_req_read(&req, file, buf, 3, 0);
		io_submit(io, &req);
		io_kick(io);
		while (!io_reap(io, &out, 1))
			poll(&(struct pollfd){ .fd = io_fd(io), .events = POLLIN }, 1, 5000);
		io->ops->forget_file(io, file);
		file_close(file);
	}
	io_close(io);
}

/* A file that was given a slot by one ring must not be taken for another's. */
Test(choice, slots_are_not_mixed_up_between_rings)
{
	struct file_opener *opener = file_opener_posix();
	struct file *a, *b;
	struct io *one, *two;
	struct err err = { 0 };
	if (io_open(IO_CHOICE_URING, 8, &one, &err))
		scratch_skip("%s", err.message);
	cr_assert_eq(io_open(IO_CHOICE_URING, 8, &two, &err), 0);
	struct file_open how = { .name = scratch_file("a", "aaa", 3) };
	cr_assert_eq(opener->open(opener, &how, &a, &err), 0);
	how.name = scratch_file("b", "bbb", 3);
	cr_assert_eq(opener->open(opener, &how, &b, &err), 0);
	one->ops->add_file(one, a);
	two->ops->add_file(two, b);
	cr_assert_eq(a->slot, b->slot);

	struct io_req req = { 0 }, *out;
	char buf[3];
	io_req_read(&req, a, buf, 3, 0);
	io_submit(two, &req);
	io_kick(two);
	while (!io_reap(two, &out, 1))
		poll(&(struct pollfd){ .fd = io_fd(two), .events = POLLIN }, 1, 5000);
	cr_assert_eq(req.result, 3);
	cr_assert_eq(memcmp(buf, "aaa", 3), 0);
	two->ops->forget_file(two, a);
	cr_assert_geq(a->slot, 0, "only its own ring takes it out");
	one->ops->forget_file(one, a);
	two->ops->forget_file(two, b);
	file_close(a);
	file_close(b);
	io_close(one);
	io_close(two);
}

/* Direct reads end at an odd end of file. */
static void direct(enum io_choice choice)
{
	static char buf[16384] __attribute__((aligned(4096)));
	struct file_opener *opener = file_opener_posix();
	struct file *file;
	struct io *io;
	struct err err = { 0 };
	struct io_req req = { 0 }, *out;
	memset(buf, 'd', sizeof(buf));
	struct file_open how = { .name = scratch_file("disk", buf, 5000), .direct = true };

	if (io_open(choice, 8, &io, &err))
		scratch_skip("%s", err.message);
	cr_assert_eq(opener->open(opener, &how, &file, &err), 0);
	for (uint64_t off = 0; off <= 8192; off += 4096) {
		memset(buf, 'x', sizeof(buf));
		io_req_read(&req, file, buf, 8192, off);
		io_submit(io, &req);
		io_kick(io);
		while (!io_reap(io, &out, 1))
			poll(&(struct pollfd){ .fd = io_fd(io), .events = POLLIN }, 1, 5000);
		int64_t here = off < 5000 ? 5000 - (int64_t)off : 0;
		cr_assert_eq(req.result, here, "at %d: %d", (int)off, (int)req.result);
		cr_assert(!here || (buf[0] == 'd' && buf[here - 1] == 'd'));
	}
	file_close(file);
	io_close(io);
}

Test(choice, direct_reads_at_the_end_of_file_uring)
{
	direct(IO_CHOICE_URING);
}

Test(choice, direct_reads_at_the_end_of_file_threads)
{
	direct(IO_CHOICE_THREADS);
}
