/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What an attacker who took over the process can still do: each call is made by a
 * child inside the sandbox, and by another outside of it, where it must work;
 * else a refusal would prove nothing. And the ring, which needs no sandbox.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "io/backends/backend.h"
#include "io/backends/uring.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"
#include "tools/cli/sandbox.h"

TIME_LIMIT(60);
TestSuite(sandbox, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

static int data_fd; /* open before */

static long try_read_write(void)
{
	char byte = 0;
	return pwrite(data_fd, &byte, 1, 0) < 0 ? -1 : pread(data_fd, &byte, 1, 0);
}

static void *idle(void *opaque)
{
	return opaque;
}

static long try_thread(void)
{
	pthread_t thread;
	return pthread_create(&thread, NULL, idle, NULL) ? -1 : pthread_join(thread, NULL);
}

static long try_open_read(void)
{
	return open("/proc/self/status", O_RDONLY);
}

static long try_open_write(void)
{
	return open("file", O_RDWR);
}

static long try_create(void)
{
	return openat(AT_FDCWD, "other", O_WRONLY | O_CREAT, 0600);
}

/* As tools/pull/metrics_file.c does it; "file" is there. */
static long try_create_new(void)
{
	return open("other", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

static long try_create_old(void)
{
	return open("file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) < 0 && errno == EEXIST
		       ? 0
		       : -1;
}

static long try_create_to_read(void)
{
	return open("other", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

static long try_create_direct(void)
{
	return open("other", O_WRONLY | O_CREAT | O_EXCL | O_SYNC | O_CLOEXEC, 0644);
}

static long try_exec(void)
{
	return execl("/bin/true", "true", NULL);
}

/* The parent's view of it: 0 where there was a child. */
static long try_fork(void)
{
	pid_t pid = fork();
	if (!pid)
		_exit(0);
	return pid < 0 ? -1 : 0;
}

static long try_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long try_ring(void)
{
	struct io_uring_params params = { 0 };
	return syscall(__NR_io_uring_setup, 1, &params);
}

static long try_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static long try_unlink(void)
{
	return unlink("file");
}

static long try_rename(void)
{
	return rename("file", "other");
}

static long try_chmod(void)
{
	return chmod("file", 0600);
}

static long try_memory_of_others(void)
{
	char byte = 0, other;
	struct iovec here = { &other, 1 }, there = { &byte, 1 };
	return process_vm_readv(getpid(), &here, 1, &there, 1, 0);
}

enum outcome {
	WORKS,
	DENIED,
	KILLED
};

/* In a child, in the scratch directory. */
static enum outcome outcome_of(long (*try)(void), bool sandboxed, unsigned names)
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		if (sandboxed)
			sandbox_enter(names);
		errno = 0;
		long rc = try();
		_exit(rc >= 0 ? WORKS : errno == EPERM ? DENIED : 99);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		cr_assert_eq(WTERMSIG(status), SIGSYS);
		return KILLED;
	}
	cr_assert(WIFEXITED(status));
	return (enum outcome)WEXITSTATUS(status);
}

struct attempt {
	const char *name;
	long (*try)(void);
	enum outcome inside;
};

static void remake(void)
{
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(fd, 0);
	if (data_fd > 0)
		close(data_fd);
	data_fd = fd;
	unlink("other");
}

static void enter_scratch(void)
{
	cr_assert_eq(chdir(scratch_dir()), 0);
}

Test(sandbox, nothing_but_open_files)
{
	static const struct attempt attempts[] = {
		{ "read and write", try_read_write, WORKS },
		{ "a thread", try_thread, WORKS },
		{ "open to read", try_open_read, DENIED },
		{ "open to write", try_open_write, KILLED },
		{ "create", try_create, KILLED },
		{ "exec", try_exec, KILLED },
		{ "fork", try_fork, DENIED },
		{ "socket", try_socket, KILLED },
		{ "ptrace", try_ptrace, KILLED },
		{ "memory of others", try_memory_of_others, KILLED },
		{ "memory as code", try_code, DENIED },
		{ "unlink", try_unlink, DENIED },
		{ "rename", try_rename, DENIED },
		{ "chmod", try_chmod, DENIED },
	};

	enter_scratch();
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		const struct attempt *a = &attempts[i];
		remake();
		cr_expect_eq(outcome_of(a->try, true, SANDBOX_NO_NAMES), a->inside, "%s inside",
			     a->name);
		remake();
		cr_expect_eq(outcome_of(a->try, false, 0), WORKS, "%s outside", a->name);
	}
	/* May be forbidden here anyway. */
	cr_expect_eq(outcome_of(try_ring, true, SANDBOX_NO_NAMES), KILLED, "a second ring");
}

Test(sandbox, names_only_where_asked_for)
{
	enter_scratch();
	remake();
	cr_expect_eq(outcome_of(try_rename, true, SANDBOX_UNLINK), DENIED);
	cr_expect_eq(outcome_of(try_rename, true, SANDBOX_RENAME), WORKS);
	remake();
	cr_expect_eq(outcome_of(try_unlink, true, SANDBOX_RENAME), DENIED);
	cr_expect_eq(outcome_of(try_unlink, true, SANDBOX_UNLINK), WORKS);
}

Test(sandbox, a_new_file_may_replace_an_old_one_where_asked_for)
{
	static const struct attempt attempts[] = {
		{ "a new file", try_create_new, WORKS },
		{ "a new file where one is", try_create_old, WORKS },
		{ "unlink", try_unlink, WORKS },
		{ "rename", try_rename, WORKS },
		{ "open to write", try_open_write, KILLED },
		{ "create without O_EXCL", try_create, KILLED },
		{ "create to read, too", try_create_to_read, KILLED },
		{ "create in another way", try_create_direct, DENIED },
		{ "open to read", try_open_read, DENIED },
		{ "exec", try_exec, KILLED },
	};

	enter_scratch();
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		const struct attempt *a = &attempts[i];
		remake();
		cr_expect_eq(outcome_of(a->try, true, SANDBOX_REPLACE), a->inside, "%s", a->name);
		remake();
		cr_expect_eq(outcome_of(a->try, true, SANDBOX_REPLACE | SANDBOX_UNLINK), a->inside,
			     "%s, beside a socket", a->name);
	}
	remake();
	cr_expect_eq(outcome_of(try_create_new, true, SANDBOX_RENAME | SANDBOX_UNLINK), KILLED);
}

static long try_disabled(void)
{
	sandbox_disable();
	sandbox_enter(SANDBOX_NO_NAMES);
	return try_open_read();
}

Test(sandbox, a_sandbox_that_is_off_forbids_nothing)
{
	cr_expect_eq(outcome_of(try_disabled, false, 0), WORKS);
}

static int ring_result(struct io_uring *ring, struct io_uring_sqe *sqe)
{
	struct io_uring_cqe *cqe;
	cr_assert_eq(io_uring_submit(ring), 1);
	cr_assert_eq(io_uring_wait_cqe(ring, &cqe), 0);
	int res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

Test(sandbox, ring_opens_nothing)
{
	struct io *io;
	struct err err = { 0 };
	if (io_open(IO_CHOICE_URING, 8, &io, &err))
		scratch_skip("%s", err.message);
	struct io_uring *ring = &((struct uring *)io)->ring;

	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	io_uring_prep_openat(sqe, AT_FDCWD, "/proc/self/status", O_RDONLY, 0);
	cr_expect_eq(ring_result(ring, sqe), -EACCES, "open");
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM, 0, 0);
	cr_expect_eq(ring_result(ring, sqe), -EACCES, "socket");
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_LINK;
	cr_expect_eq(ring_result(ring, sqe), -EACCES, "a link");
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_nop(sqe);
	cr_expect_eq(ring_result(ring, sqe), 0, "what is used goes on");
	cr_expect_lt(syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_PERSONALITY,
			     NULL, 0),
		     0);
	io_close(io);
}
