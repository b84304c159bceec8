/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What fork() does to a program that has an engine: the child keeps no image
 * locked, may close, and disturbs the parent by none of it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/blockpull-libvirt.h"
#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/pattern.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MiB      (1u << 20)
#define BASE_LEN (24u * MiB)
/* A child that takes longer hangs. */
#define CHILD_LIMIT_S TIME_LIMIT_CLOCK(5)

TIME_LIMIT(120);
TestSuite(fork, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(120));

static const struct way {
	const char *name;
	enum bpull_io io;
	uint32_t flags;
} ways[] = {
	{ "uring", BPULL_IO_URING, 0 },
	{ "uring, own thread", BPULL_IO_URING, BPULL_ENGINE_THREAD },
	{ "threads", BPULL_IO_THREADS, 0 },
	{ "threads, own thread", BPULL_IO_THREADS, BPULL_ENGINE_THREAD },
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static struct bpull_engine *engine;
static struct bpull_disk *disk;

static void make_chain(void)
{
	uint8_t *bytes = malloc(BASE_LEN);

	pattern_words(bytes, BASE_LEN, 0);
	scratch_file("base.raw", bytes, BASE_LEN);
	free(bytes);
	unlink(scratch("top.qcow2"));
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
}

/* False: there is no io_uring here. */
static bool open_engine(const struct way *way)
{
	struct bpull_engine_options o = { .size = sizeof(o), .io = way->io, .flags = way->flags };
	struct bpull_error error = { 0 };
	int rc = bpull_engine_open(&o, &engine, &error);

	if (rc == -ENOTSUP && way->io == BPULL_IO_URING)
		return false;
	cr_assert_eq(rc, 0, "%s: %s", way->name, error.message);
	return true;
}

static int try_open(struct bpull_engine *e, const char *name, enum bpull_format format,
		    struct bpull_disk **out)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO,
					.format = format };
	struct bpull_error error = { 0 };

	return bpull_disk_open(e, scratch(name), &o, out, &error);
}

static void open_disk(const struct way *way)
{
	make_chain();
	cr_assert_eq(try_open(engine, "top.qcow2", 0, &disk), 0, "%s", way->name);
}

/* As another program finds out: QEMU's bytes, which stand against a writer. */
static bool is_locked(const char *name)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = 100, .l_len = 104 };
	int fd = open(scratch(name), O_RDWR);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
	close(fd);
	return lock.l_type != F_UNLCK;
}

/* It holds what was open when it was made, until it is killed. */
static pid_t start_sleeper(void)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void end_sleeper(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* Runs the body in a child and returns its exit status. */
static int in_child(const struct way *way, int (*body)(void))
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid) {
		alarm(CHILD_LIMIT_S);
		_exit(body());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status), "%s: the child ended by signal %d", way->name,
		  WTERMSIG(status));
	return WEXITSTATUS(status);
}

static int start_job(uint64_t bandwidth)
{
	struct bpull_job_options o = { .size = sizeof(o), .bandwidth = bandwidth };

	return bpull_job_start(disk, &o, NULL);
}

static void wait_for_end(const struct way *way)
{
	struct bpull_event event;

	do
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1, "%s", way->name);
	while (event.type != BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s: %s", way->name, event.message);
}

/* The image alone, by QEMU's word, is what the base was. */
static void judge(const struct way *way)
{
	cr_assert_eq(scratch_run("qemu-img", "check", "-q", scratch("top.qcow2"), NULL), 0, "%s",
		     way->name);
	cr_assert_eq(scratch_run("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2",
				 scratch("base.raw"), scratch("top.qcow2"), NULL),
		     0, "%s", way->name);
}

Test(fork, closed_is_unlocked)
{
	for (size_t i = 0; i < N_WAYS; i++) {
		pid_t child;

		if (!open_engine(&ways[i]))
			continue;
		open_disk(&ways[i]);
		child = start_sleeper();
		cr_expect(is_locked("top.qcow2"), "%s", ways[i].name);
		bpull_disk_close(disk);
		cr_expect_not(is_locked("top.qcow2"), "%s: top", ways[i].name);
		cr_expect_not(is_locked("base.raw"), "%s: base", ways[i].name);
		bpull_engine_close(engine);
		end_sleeper(child);
	}
}

Test(fork, a_dropped_base_is_unlocked)
{
	for (size_t i = 0; i < N_WAYS; i++) {
		pid_t child;

		if (!open_engine(&ways[i]))
			continue;
		open_disk(&ways[i]);
		child = start_sleeper();
		cr_expect(is_locked("base.raw"), "%s", ways[i].name);
		cr_assert_eq(start_job(0), 0);
		wait_for_end(&ways[i]);
		cr_expect_not(is_locked("base.raw"), "%s", ways[i].name);
		cr_expect(is_locked("top.qcow2"), "%s", ways[i].name);
		bpull_engine_close(engine);
		end_sleeper(child);
		judge(&ways[i]);
	}
}

Test(fork, direct_files_are_unlocked)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_DIRECT };
	pid_t child;

	cr_assert(open_engine(&ways[2]));
	make_chain();
	if (bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, NULL) == -ENOTSUP)
		scratch_skip("no direct I/O here");
	child = start_sleeper();
	bpull_engine_close(engine);
	cr_expect_not(is_locked("top.qcow2"));
	end_sleeper(child);
}

static struct bpull_info *info;

static int close_info(void)
{
	bpull_info_close(info);
	return 0;
}

Test(fork, a_child_that_closes_an_info_unlocks_nothing)
{
	pid_t child;

	make_chain();
	cr_assert_eq(bpull_info_open(scratch("top.qcow2"), NULL, &info, NULL), 0);
	cr_assert_eq(in_child(&ways[2], close_info), 0);
	cr_expect(is_locked("top.qcow2"));
	child = start_sleeper();
	bpull_info_close(info);
	cr_expect_not(is_locked("top.qcow2"));
	end_sleeper(child);
}

static int n_open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int n_before; /* descriptors, without an engine */

static int close_both(void)
{
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return n_open_descriptors() == n_before ? 0 : 2;
}

static int close_engine_alone(void)
{
	bpull_engine_close(engine);
	return n_open_descriptors() == n_before ? 0 : 2;
}

/* The locks are the parent's still, and its job, its guest and its notes of the base go on. */
Test(fork, a_child_that_closes_disturbs_nothing)
{
	for (size_t i = 0; i < N_WAYS; i++) {
		uint8_t sector[512], want[512] = "\1";

		n_before = n_open_descriptors();
		if (!open_engine(&ways[i]))
			continue;
		open_disk(&ways[i]);
		cr_assert_eq(start_job(8 * MiB), 0);
		for (int n = 0; n < 5; n++) {
			struct bpull_event event;

			cr_assert_eq(bpull_engine_wait(engine, &event, 1, 100), 0);
			cr_expect_eq(in_child(&ways[i], n % 2 ? close_both : close_engine_alone), 0,
				     "%s: child %d", ways[i].name, n);
			cr_expect(is_locked("top.qcow2"), "%s", ways[i].name);
			cr_expect(is_locked("base.raw"), "%s", ways[i].name);
		}
		if (ways[i].flags & BPULL_ENGINE_THREAD) {
			cr_expect_eq(bpull_pread(disk, sector, sizeof(sector), 0), 0);
			cr_expect_arr_eq(sector, want, 8);
		}
		bpull_job_set_speed(disk, 0, 0);
		wait_for_end(&ways[i]);
		bpull_engine_close(engine);
		judge(&ways[i]);
	}
}

static int run_engine(void)
{
	struct bpull_event event;

	if (bpull_engine_process(engine, &event, 1) != -EINVAL)
		return 2;
	return bpull_engine_wait(engine, &event, 1, -1) == -EINVAL ? 0 : 3;
}

Test(fork, a_child_runs_nothing)
{
	for (size_t i = 0; i < N_WAYS; i++) {
		if (!open_engine(&ways[i]))
			continue;
		open_disk(&ways[i]);
		cr_assert_eq(start_job(100 * MiB), 0);
		cr_expect_eq(in_child(&ways[i], run_engine), 0, "%s", ways[i].name);
		wait_for_end(&ways[i]);
		bpull_engine_close(engine);
		judge(&ways[i]);
	}
}

static int close_any(void)
{
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return 0;
}

/* At moments that no test chose: the engine's thread may be anywhere. */
Test(fork, a_child_may_close_at_any_moment)
{
	for (size_t i = 1; i < N_WAYS; i += 2) {
		if (!open_engine(&ways[i]))
			continue;
		open_disk(&ways[i]);
		cr_assert_eq(start_job(60 * MiB), 0);
		for (int n = 0; n < 40; n++) {
			cr_assert_eq(in_child(&ways[i], close_any), 0, "%s", ways[i].name);
			usleep(n * 137 % 5000);
		}
		wait_for_end(&ways[i]);
		bpull_engine_close(engine);
		judge(&ways[i]);
	}
}

static struct bpull_virt *virt;

static int close_virt(void)
{
	bpull_virt_close(virt);
	return 0;
}

Test(fork, a_child_closes_libvirts_connection)
{
	struct bpull_engine_options o = { .size = sizeof(o), .io = BPULL_IO_THREADS };
	struct bpull_error error = { 0 };

	cr_assert_eq(bpull_virt_open(&o, NULL, &virt, &error), 0, "%s", error.message);
	engine = bpull_virt_engine(virt);
	open_disk(&ways[3]);
	cr_assert_eq(in_child(&ways[3], close_virt), 0);
	cr_expect(is_locked("top.qcow2"));
	bpull_virt_close(virt);
	cr_expect_not(is_locked("top.qcow2"));
}
