/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Calls that wait for a disk's last commit sleep: a barrier that takes long costs no processor. It
 * did, and a program of the highest priority never let the barrier's own thread run.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MiB      (1u << 20)
#define BASE_LEN (8u * MiB)
#define SYNC_NS  300000000L
#define MAX_NS   (SYNC_NS / 3) /* of the processor, with all that a close does */

TIME_LIMIT(60);
TestSuite(closing, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

static atomic_bool is_slow;
static atomic_uint n_slow;

/* In the library's place: a device that takes its time. */
__attribute__((visibility("default"))) int fdatasync(int fd)
{
	if (atomic_load(&is_slow)) {
		atomic_fetch_add(&n_slow, 1);
		nanosleep(&(struct timespec){ .tv_nsec = SYNC_NS }, NULL);
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static char bytes[65536];

static void open_disk(uint32_t flags)
{
	struct bpull_engine_options eo = { .size = sizeof(eo),
					   .io = BPULL_IO_THREADS,
					   .flags = flags };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };

	cr_assert_eq(bpull_engine_open(&eo, &engine, &error), 0, "%s", error.message);
	scratch_filled("base.raw", 0x5a, BASE_LEN);
	unlink(scratch("top.qcow2"));
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
}

/* Until so many events came. */
static void take(unsigned n)
{
	while (n) {
		struct bpull_event event;
		int got = bpull_engine_wait(engine, &event, 1, -1);

		cr_assert_geq(got, 0);
		n -= (unsigned)got;
	}
}

/* What is written is not durable, and the next barrier is slow. */
static void dirty(void)
{
	struct iovec iov = { bytes, sizeof(bytes) };

	bpull_write(disk, &iov, 1, MiB, 0, NULL);
	take(1);
	atomic_store(&n_slow, 0);
	atomic_store(&is_slow, true);
}

static int64_t processor_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void judge(const char *what, int64_t took_ns)
{
	cr_expect_gt(atomic_load(&n_slow), 0, "%s: no barrier was slow", what);
	cr_expect_lt(took_ns, MAX_NS, "%s: %.0f ms of the processor", what, (double)took_ns / 1e6);
	atomic_store(&is_slow, false);
}

static void close_written(uint32_t flags, const char *what)
{
	int64_t from_ns;

	open_disk(flags);
	dirty();
	from_ns = processor_ns();
	bpull_disk_close(disk);
	judge(what, processor_ns() - from_ns);
	bpull_engine_close(engine);
}

Test(closing, a_close_sleeps_while_its_commit_runs)
{
	close_written(0, "close");
	close_written(BPULL_ENGINE_THREAD, "close, with a thread");
}

static void rest(uint32_t flags, const char *what)
{
	struct bpull_error error = { 0 };
	int64_t from_ns;

	open_disk(flags);
	dirty();
	from_ns = processor_ns();
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
	judge(what, processor_ns() - from_ns);
	bpull_engine_close(engine);
}

Test(closing, a_disk_that_becomes_inactive_sleeps_so)
{
	rest(0, "inactivate");
	rest(BPULL_ENGINE_THREAD, "inactivate, with a thread");
}

/* The job is aborted, and unwinds: with a commit. */
static void close_with_job(uint32_t flags, const char *what)
{
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = 4 * MiB };
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_error error = { 0 };
	int64_t from_ns;

	open_disk(flags);
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	while (info.copied_bytes < MiB) {
		struct bpull_event event;

		bpull_engine_wait(engine, &event, 1, 10);
		bpull_job_get_info(disk, &info);
	}
	atomic_store(&n_slow, 0);
	atomic_store(&is_slow, true);
	from_ns = processor_ns();
	bpull_disk_close(disk);
	judge(what, processor_ns() - from_ns);
	bpull_engine_close(engine);
}

Test(closing, a_close_sleeps_while_its_job_unwinds)
{
	close_with_job(0, "close beside a job");
	close_with_job(BPULL_ENGINE_THREAD, "close beside a job, with a thread");
}
