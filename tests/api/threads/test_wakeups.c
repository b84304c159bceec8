/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job at its limit sleeps: how often the program, or the engine's thread, is woken,
 * and that the rate is kept all the same. And the limit of all jobs, changed by
 * another thread. Calls that wait for a disk's last commit sleep, too: a barrier that
 * takes long costs no processor. It did, and a program of the highest priority never
 * let the barrier's own thread run.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MiB        (1u << 20)
#define BASE_LEN   (32u * MiB)
#define RATE       MiB
#define MAX_WAKES  20 /* a second */
#define MEASURE_NS 3000000000LL
#define SYNC_NS    300000000L
#define MAX_NS     (SYNC_NS / 3) /* of the processor, with all that a close does */

TIME_LIMIT(120);
TestSuite(wakeups, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(120));

static struct bpull_engine *engine;
static struct bpull_disk *disk;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static bool start(enum bpull_io io, uint32_t flags, uint64_t shared, uint64_t own)
{
	struct bpull_engine_options eo = {
		.size = sizeof(eo), .io = io, .flags = flags, .bandwidth = shared
	};
	struct bpull_disk_options o = { .size = sizeof(o) };
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = own };
	struct bpull_error error = { 0 };

	if (bpull_engine_open(&eo, &engine, &error))
		return false;
	scratch_filled("base.raw", 0x5a, BASE_LEN);
	unlink(scratch("top.qcow2"));
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	return true;
}

static uint64_t copied(void)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(disk, &info);
	return info.copied_bytes;
}

/* Runs the program's loop for so long; returns how often it was woken. */
static unsigned loop(int64_t for_ns, bool in_wait)
{
	int64_t end_ns = now_ns() + for_ns, left_ns;
	unsigned n = 0;

	for (; (left_ns = end_ns - now_ns()) > 0; n++) {
		struct pollfd pfd = { .events = POLLIN };
		struct bpull_event event;

		if (in_wait) {
			bpull_engine_wait(engine, &event, 1, (int)(left_ns / 1000000) + 1);
			continue;
		}
		pfd.fd = bpull_engine_fd(engine);
		poll(&pfd, 1, (int)(left_ns / 1000000) + 1);
		bpull_engine_process(engine, &event, 1);
	}
	return n;
}

/* Not more than was earned and a burst, and nearly as much. */
static void judge_rate(const char *what, uint64_t len, int64_t took_ns)
{
	double want = (double)RATE * took_ns / 1e9;

	cr_expect_leq((double)len, want + RATE / 10 + 128 * 1024, "%s: %.0f bytes too many", what,
		      len - want);
	cr_expect_geq((double)len, want * 0.9 - 2 * 128 * 1024, "%s: %.0f of %.0f bytes", what,
		      (double)len, want);
}

static void measure_loop(enum bpull_io io, const char *what)
{
	int64_t from_ns;
	uint64_t from;
	unsigned n;

	if (!start(io, 0, 0, RATE))
		return;
	loop(1000000000, false);
	from_ns = now_ns();
	from = copied();
	n = loop(MEASURE_NS, false);
	judge_rate(what, copied() - from, now_ns() - from_ns);
	cr_expect_leq(n, MAX_WAKES * (unsigned)(MEASURE_NS / 1000000000), "%s: %u wake-ups", what,
		      n);
	bpull_engine_close(engine);
}

Test(wakeups, a_programs_loop_is_woken_seldom)
{
	measure_loop(BPULL_IO_URING, "uring");
	measure_loop(BPULL_IO_THREADS, "threads");
}

/* The same rate where the engine sleeps in its own call, which returns for events alone. */
Test(wakeups, the_rate_where_it_waits_itself)
{
	static const enum bpull_io ios[] = { BPULL_IO_URING, BPULL_IO_THREADS };

	for (int i = 0; i < 2; i++) {
		int64_t from_ns;
		uint64_t from;

		if (!start(ios[i], 0, RATE, 0))
			continue;
		loop(1000000000, true);
		from_ns = now_ns();
		from = copied();
		loop(MEASURE_NS, true);
		judge_rate("wait", copied() - from, now_ns() - from_ns);
		bpull_engine_close(engine);
	}
}

static void *slow_down(void *opaque)
{
	usleep(300000);
	bpull_engine_set_speed(engine, RATE, 0);
	usleep(1500000);
	bpull_engine_set_speed(engine, 0, 0);
	return opaque;
}

/* The owner sleeps meanwhile, and hears of it. */
Test(wakeups, another_thread_sets_the_shared_limit)
{
	struct bpull_event event;
	pthread_t thread;
	int64_t from_ns;

	cr_assert(start(BPULL_IO_AUTO, 0, 4096, 0));
	from_ns = now_ns();
	cr_assert_eq(pthread_create(&thread, NULL, slow_down, NULL), 0);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1, "it did not hear");
	cr_expect_eq(event.status, BPULL_JOB_COMPLETED);
	cr_expect_gt(now_ns() - from_ns, 1700000000LL, "the lower limit was not heard");
	pthread_join(thread, NULL);
	bpull_engine_close(engine);
}

/* ---- Calls that wait for a commit ---- */

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

Test(wakeups, a_close_sleeps_while_its_commit_runs)
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

Test(wakeups, a_disk_that_becomes_inactive_sleeps_so)
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

Test(wakeups, a_close_sleeps_while_its_job_unwinds)
{
	close_with_job(0, "close beside a job");
	close_with_job(BPULL_ENGINE_THREAD, "close beside a job, with a thread");
}

/* The guest's flush is in flight, and the snapshot waits for it. */
static void snapshot_behind_a_flush(uint32_t flags, const char *what)
{
	struct bpull_snapshot s = { .size = sizeof(s) };
	struct bpull_error error = { 0 };
	int64_t from_ns;

	open_disk(flags);
	unlink(scratch("next.qcow2"));
	s.disk = disk;
	s.path = scratch("next.qcow2");
	dirty();
	bpull_flush(disk, NULL);
	from_ns = processor_ns();
	cr_assert_eq(bpull_disk_snapshot(&s, 1, &error), 0, "%s", error.message);
	judge(what, processor_ns() - from_ns);
	bpull_engine_close(engine);
}

Test(wakeups, a_snapshot_sleeps_while_requests_run)
{
	snapshot_behind_a_flush(0, "snapshot");
	snapshot_behind_a_flush(BPULL_ENGINE_THREAD, "snapshot, with a thread");
}
