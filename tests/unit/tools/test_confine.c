/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a confined process opens, makes and removes files: a child tries, and
 * the same is tried before it is confined, where it must work.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"
#include "tools/cli/confine.h"

TIME_LIMIT(60);
TestSuite(confine, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

/* Whether it can be had; what was had is undone. */
static int opens(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int removes(const char *path)
{
	return unlink(path) ? -errno : 0;
}

static int binds(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

	strcpy(address.sun_path, path);
	rc = bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	close(fd);
	return rc;
}

/* A descriptor of a file that was read becomes one that can be written to, by the kernel's link. */
static int turns(int fd)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return opens(link, O_RDWR);
}

static void put(const char *path)
{
	cr_assert_eq(opens(path, O_RDWR | O_CREAT), 0, "%s", path);
}

static void world(void)
{
	cr_assert(!chdir(scratch_dir()));
	cr_assert(!mkdir("in", 0700) && !mkdir("out", 0700) && !mkdir("in/below", 0700));
	put("in/a");
	put("in/below/b");
	put("out/c");
	put("out/chain");
	cr_assert(!symlink("../out/c", "in/link"));
}

static int close_it(void)
{
	struct confine confine;
	int rc = confine_begin(&confine);

	if (!rc)
		rc = confine_allow(&confine, "in", CONFINE_READ | CONFINE_WRITE | CONFINE_FILES);
	if (!rc)
		rc = confine_allow(&confine, "out/chain", CONFINE_READ);
	if (!rc)
		rc = confine_allow(&confine, "none", CONFINE_READ);
	return rc ? rc : confine_close(&confine);
}

#define EXPECT(number, what, wanted)                             \
	do {                                                     \
		int got = (what);                                \
		if (got != (wanted)) {                           \
			fprintf(stderr, "%s: %d\n", #what, got); \
			_exit(number);                           \
		}                                                \
	} while (0)

static void inside(void)
{
	int a = open("in/a", O_RDONLY), c = open("out/c", O_RDONLY);

	EXPECT(2, turns(c), 0);
	EXPECT(3, close_it(), 0);
	EXPECT(10, opens("in/a", O_RDWR), 0);
	EXPECT(11, opens("in/below/b", O_RDWR), 0);
	EXPECT(12, opens("in/new", O_RDWR | O_CREAT | O_EXCL), 0);
	EXPECT(13, rename("in/new", "in/newer"), 0);
	EXPECT(14, removes("in/newer"), 0);
	EXPECT(15, opens("in", O_RDONLY | O_DIRECTORY), 0);
	EXPECT(16, turns(a), 0);
	EXPECT(20, opens("out/c", O_RDONLY), -EACCES);
	EXPECT(21, opens("out/c", O_RDWR), -EACCES);
	EXPECT(22, opens("in/link", O_RDONLY), -EACCES);
	EXPECT(23, opens("in/../out/c", O_RDONLY), -EACCES);
	EXPECT(24, opens("out/new", O_RDWR | O_CREAT), -EACCES);
	EXPECT(25, removes("out/c"), -EACCES);
	EXPECT(26, turns(c), -EACCES);
	EXPECT(27, opens("out/chain", O_RDONLY), 0);
	EXPECT(28, opens("out/chain", O_RDWR), -EACCES);
	EXPECT(29, binds("in/socket"), -EACCES);
	EXPECT(30, mkdir("in/dir", 0700) ? -errno : 0, -EACCES);
	EXPECT(31, opens("/etc/passwd", O_RDONLY), -EACCES);
	_exit(0);
}

static int status_of(void (*run)(void))
{
	pid_t child = fork();
	int status = 0;

	if (!child)
		run();
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

static bool can_do_it(void)
{
	struct confine confine;
	int rc = confine_begin(&confine);

	if (!rc)
		close(confine.fd);
	return !rc;
}

Test(confine, opens_and_makes_what_was_allowed)
{
	if (!can_do_it())
		cr_skip_test("this kernel has no Landlock");
	world();
	cr_assert_eq(status_of(inside), 0);
}

static void *idle(void *opaque)
{
	pause();
	return opaque;
}

static void with_a_thread(void)
{
	pthread_t thread;

	EXPECT(1, pthread_create(&thread, NULL, idle, NULL), 0);
	EXPECT(2, close_it(), -EBUSY);
	EXPECT(3, opens("out/c", O_RDONLY), 0);
	_exit(0);
}

/* Threads that run already would not be confined. */
Test(confine, refuses_where_threads_run)
{
	if (!can_do_it())
		cr_skip_test("this kernel has no Landlock");
	world();
	cr_assert_eq(status_of(with_a_thread), 0);
}
