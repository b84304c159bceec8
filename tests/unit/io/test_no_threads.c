/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A limit on processes that is used up, before a backend is opened and after it:
 * what is submitted ends, or opening fails with a sentence. Nothing waits for a
 * thread that never comes. Root has no such limit, so the children are another
 * user: each one of its own, because the limit counts a user's processes on the
 * whole machine, and other tests run some, too.
 */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <liburing.h>

#include "io/backends/backend.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/rigs/backend.h"
#include "tests/support/time_limit.h"

#define USERS   0x10000000 /* no system gives such numbers away */
#define N_REQS  40
#define CHILD_S TIME_LIMIT_CLOCK(10) /* a child that takes longer hangs */
#define SKIPPED 77

TIME_LIMIT(120);
TestSuite(no_threads, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(120));

/* Linked in place of the calls: in a child that says so, one thread starts and no more, and the
 * ring's probe hears nothing from the kernel's threads. */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *),
			  void *arg);
int __real_io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
				     struct __kernel_timespec *limit);
int __wrap_io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
				     struct __kernel_timespec *limit);
static bool one_starts;
static unsigned n_started;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *),
			  void *arg)
{
	if (one_starts && n_started++)
		return EAGAIN;
	return __real_pthread_create(thread, attr, body, arg);
}

int __wrap_io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
				     struct __kernel_timespec *limit)
{
	if (one_starts)
		return -ETIME;
	return __real_io_uring_wait_cqe_timeout(ring, cqe, limit);
}

static bool limit_processes(rlim_t n)
{
	struct rlimit limit = { n, n };

	return !setrlimit(RLIMIT_NPROC, &limit);
}

static bool become_another(void)
{
	uid_t user = USERS + (uid_t)getpid();

	return !chmod(scratch_dir(), 0777) && !setgroups(0, NULL) && !setgid(user) && !setuid(user);
}

static void in_child(int (*body)(void))
{
	int status;
	pid_t pid;

	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		alarm(CHILD_S);
		_exit(body());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		scratch_skip("no io_uring here");
	cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "step %d, signal %d",
		  WEXITSTATUS(status), WTERMSIG(status));
}

static void as_another(int (*body)(void))
{
	if (geteuid())
		scratch_skip("only root can become another user");
	in_child(body);
}

static bool wait_for_all(struct io *io)
{
	while (io->n_in_flight) {
		struct pollfd pfd = { .fd = io_fd(io), .events = POLLIN };
		struct io_req *out[N_REQS];
		unsigned n;

		if (poll(&pfd, 1, 30000) != 1)
			return false;
		n = io_reap(io, out, N_REQS);
		for (unsigned i = 0; i < n; i++)
			if (out[i]->result != (int64_t)out[i]->len)
				return false;
	}
	return true;
}

/* Reads and writes that the kernel's threads are to do, and syncs, which only they do. 0 or the
 * step that failed. */
static int use(struct io *io)
{
	static struct io_req reqs[N_REQS];
	static char bufs[N_REQS][4096];
	struct file_opener *opener = file_opener_posix();
	struct file *file;

	if (opener->create(opener, scratch("disk"), &file, NULL))
		return 11;
	file->now.no_writes = true;
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N_REQS; i++) {
			uint64_t off = i * UINT64_C(4096);

			if (i % 4 == 3)
				io_req_sync(&reqs[i], file);
			else if (round == 2)
				io_req_read(&reqs[i], file, bufs[i], 4096, off);
			else
				io_req_write(&reqs[i], file, memset(bufs[i], (int)i + 1, 4096),
					     4096, off);
			reqs[i].offload = true;
			reqs[i].prompt = i % 4 == 1;
			io_submit(io, &reqs[i]);
		}
		if (round == 2)
			memset(bufs, 0, sizeof(bufs));
		io_kick(io);
		if (!wait_for_all(io))
			return 12;
	}
	for (unsigned i = 0; i < N_REQS; i++)
		if (i % 4 != 3 && (bufs[i][0] != (char)(i + 1) || bufs[i][4095] != (char)(i + 1)))
			return 13;
	file_close(file);
	return 0;
}

/* The thread sanitizer has threads of its own: it starts one behind fork(), and another one with
 * the child's first thread. */
#ifdef __SANITIZE_THREAD__
#define N_OWN_THREADS 3
#else
#define N_OWN_THREADS 1
#endif

/* The process itself and so many threads. */
static int open_with_room_for(unsigned n_threads, enum io_choice choice, struct io **io,
			      struct err *err)
{
	if (!become_another() || !limit_processes(N_OWN_THREADS + n_threads))
		return SKIPPED;
	return io_open(choice, 8, io, err);
}

static int no_room(enum io_choice choice, int code)
{
	struct err err = { 0 };
	struct io *io;

	if (open_with_room_for(0, choice, &io, &err) != code || err.code != code)
		return 1;
	return strstr(err.message, "limit on processes") ? 0 : 2;
}

static int no_room_auto(void)
{
	return no_room(IO_CHOICE_AUTO, -EAGAIN);
}

static int no_room_uring(void)
{
	struct err err = { 0 };
	struct io *io;

	if (io_open(IO_CHOICE_URING, 8, &io, &err))
		return SKIPPED;
	io_close(io);
	return no_room(IO_CHOICE_URING, -ENOTSUP);
}

static int no_room_threads(void)
{
	return no_room(IO_CHOICE_THREADS, -EAGAIN);
}

Test(no_threads, without_room_for_a_thread_opening_names_the_limit)
{
	as_another(no_room_auto);
	as_another(no_room_threads);
	as_another(no_room_uring);
}

static int use_threads_and_close(struct io *io)
{
	int rc = strcmp(io->ops->name, "threads") ? 2 : use(io);

	io_close(io);
	return rc;
}

/* Not for the ring, which needs one of the kernel's as well. */
static int room_for_one(void)
{
	struct err err = { 0 };
	struct io *io;

	return open_with_room_for(1, IO_CHOICE_AUTO, &io, &err) ? 1 : use_threads_and_close(io);
}

Test(no_threads, with_room_for_one_thread_all_requests_end)
{
	as_another(room_for_one);
}

/* Its place is gone as soon as a thread has ended: what the ring's backend started serves the
 * threads backend, too. */
static int one_ever(void)
{
	struct err err = { 0 };
	struct io *io;

	one_starts = true;
	return io_open(IO_CHOICE_AUTO, 8, &io, &err) ? 1 : use_threads_and_close(io);
}

Test(no_threads, a_thread_that_runs_is_kept)
{
	in_child(one_ever);
}

static int room_for_few(void)
{
	struct err err = { 0 };
	struct io *io;

	return open_with_room_for(3, IO_CHOICE_THREADS, &io, &err) ? 1 : use_threads_and_close(io);
}

Test(no_threads, with_room_for_few_threads_all_requests_end)
{
	as_another(room_for_few);
}

struct late {
	struct io *io;
	pthread_mutex_t start;
	int rc;
};

static void *use_later(void *opaque)
{
	struct late *late = opaque;

	pthread_mutex_lock(&late->start);
	late->rc = use(late->io);
	return NULL;
}

/* The kernel's threads are those of the thread that submits, and this one has none yet. */
static int limit_after_opening(void)
{
	struct late late = { .start = PTHREAD_MUTEX_INITIALIZER, .rc = 99 };
	pthread_t thread;

	if (!become_another() || io_open(IO_CHOICE_URING, 8, &late.io, NULL))
		return SKIPPED;
	pthread_mutex_lock(&late.start);
	if (pthread_create(&thread, NULL, use_later, &late) || !limit_processes(1))
		return 1;
	pthread_mutex_unlock(&late.start);
	pthread_join(thread, NULL);
	io_close(late.io);
	return late.rc;
}

Test(no_threads, a_limit_after_opening_keeps_no_request)
{
	as_another(limit_after_opening);
}

/* Some kernels never end what they have no thread for. Here it is a pipe that nothing comes from:
 * the ring gives it back, and the workers find that it has no offsets. */
Test(no_threads, what_never_ends_is_called_back)
{
	struct io_req req = { 0 }, *out;
	struct file pipe_end = { .len = 4096, .io_align = 1, .slot = -1 };
	struct pollfd pfd = { .events = POLLIN };
	char buf[16];
	struct io *io;
	int fds[2];

	if (io_open(IO_CHOICE_URING, 8, &io, NULL))
		scratch_skip("no io_uring here");
	cr_assert_eq(pipe(fds), 0);
	pipe_end.fd = fds[0];
	pfd.fd = io_fd(io);
	io_req_read(&req, &pipe_end, buf, sizeof(buf), 0);
	req.offload = true;
	io_submit(io, &req);
	io_kick(io);
	do
		cr_assert_eq(poll(&pfd, 1, 60000), 1, "it never ends");
	while (!io_reap(io, &out, 1));
	cr_expect_eq(req.result, -ESPIPE);
	cr_assert_eq(use(io), 0);
	io_close(io);
	close(fds[0]);
	close(fds[1]);
}
