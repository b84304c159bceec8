/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * bpull_engine_poll() beside the descriptor, and bpull_engine_wait() of several threads,
 * on an engine with a thread of its own, beside guests and a job: its time being over must
 * touch nothing that the engine's thread works on. Bytes and events are judged here;
 * thread_driver.c waits so under the thread sanitizer.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

#define BASE_LEN  (4u << 20)
#define N_WAITERS 3
#define N_GUESTS  3
#define N_OPS     400u
#define PIECE     8192u

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static atomic_bool quit;
static atomic_uint n_job_events;

/* Waits for no time at all, for a millisecond, for two, and again. */
static void *run_waiter(void *opaque)
{
	const char *why = NULL;

	(void)opaque;
	for (unsigned i = 0; !atomic_load(&quit); i++) {
		struct bpull_event events[2];
		int n = bpull_engine_wait(engine, events, 2, (int)(i % 3));

		if (n < 0)
			why = strerror(-n);
		for (int k = 0; k < n; k++)
			atomic_fetch_add(&n_job_events, events[k].type == BPULL_EVENT_JOB);
	}
	return (void *)why;
}

static void *run_guest(void *opaque)
{
	uint64_t off = (uint64_t)(uintptr_t)opaque * PIECE;
	uint8_t out[PIECE], in[PIECE];

	for (unsigned i = 0; i < N_OPS; i++) {
		memset(out, (int)(i + off), sizeof(out));
		if (bpull_pwrite(disk, out, sizeof(out), off, 0))
			return (void *)"a write failed";
		if (bpull_pread(disk, in, sizeof(in), off))
			return (void *)"a read failed";
		if (memcmp(in, out, sizeof(in)) != 0)
			return (void *)"other bytes were read";
		if (i % 64 == 0 && bpull_pflush(disk))
			return (void *)"a flush failed";
	}
	return NULL;
}

static void join(pthread_t thread)
{
	void *why;

	cr_assert_eq(pthread_join(thread, &why), 0);
	cr_assert_null(why, "%s", (const char *)why);
}

static void waiters_beside_guests(enum bpull_io io)
{
	struct bpull_engine_options eo = { .size = sizeof(eo),
					   .io = io,
					   .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = 16u << 20 };
	pthread_t waiters[N_WAITERS], guests[N_GUESTS];
	struct bpull_error error = { 0 };

	if (bpull_engine_open(&eo, &engine, &error) == -ENOTSUP)
		scratch_skip("%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0, "%s",
		     error.message);
	for (unsigned i = 0; i < N_WAITERS; i++)
		cr_assert_eq(pthread_create(&waiters[i], NULL, run_waiter, NULL), 0);
	for (uintptr_t i = 0; i < N_GUESTS; i++)
		cr_assert_eq(pthread_create(&guests[i], NULL, run_guest, (void *)i), 0);
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	for (unsigned i = 0; i < N_GUESTS; i++)
		join(guests[i]);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	while (!atomic_load(&n_job_events)) /* a waiter takes it */
		bpull_disk_drain(disk, 10);
	atomic_store(&quit, true);
	for (unsigned i = 0; i < N_WAITERS; i++)
		join(waiters[i]);
	cr_assert_eq(atomic_load(&n_job_events), 1);
	bpull_engine_close(engine);
}

static void begin(void)
{
	scratch_make();
	scratch_filled("base", 0x5a, BASE_LEN);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
}

TestSuite(engine_wait, .init = begin, .fini = scratch_remove, .timeout = 300);

Test(engine_wait, waiters_beside_guests_take_the_jobs_event_once_with_io_uring)
{
	waiters_beside_guests(BPULL_IO_URING);
}

Test(engine_wait, waiters_beside_guests_take_the_jobs_event_once_with_threads)
{
	waiters_beside_guests(BPULL_IO_THREADS);
}

/* ---- looking before sleeping ---- */

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, timeout_ms) == 1;
}

static void open_polled(enum bpull_io io)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = io };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };

	if (bpull_engine_open(&eo, &engine, &error) == -ENOTSUP)
		scratch_skip("%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0, "%s",
		     error.message);
}

/* Until there is nothing to do. */
static void settle(int fd)
{
	struct bpull_event event;

	while (is_readable(fd, 50))
		cr_assert_eq(bpull_engine_process(engine, &event, 1), 0);
}

Test(engine_wait, polling_leaves_the_descriptor_untold)
{
	uint8_t bytes[PIECE];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct bpull_event event;
	int fd;

	open_polled(BPULL_IO_AUTO);
	fd = bpull_engine_fd(engine);
	settle(fd);
	/* Read in the call itself, since the page cache has it or it is read again. */
	bpull_read(disk, &iov, 1, 0, NULL);
	cr_assert(is_readable(fd, 10000), "a program that sleeps is told");
	while (!bpull_engine_process(engine, &event, 1))
		cr_assert(is_readable(fd, 10000));
	settle(fd);
	cr_assert_eq(bpull_engine_poll(engine, &event, 1), 0);
	for (unsigned i = 0; i < 100; i++) {
		bpull_read(disk, &iov, 1, 0, NULL);
		cr_assert_not(is_readable(fd, 0), "a program that looks is not told, request %u",
			      i);
		while (!bpull_engine_poll(engine, &event, 1))
			;
		cr_assert_eq(event.error, 0);
		cr_assert_not(is_readable(fd, 0), "nor of the end, request %u", i);
	}
	bpull_read(disk, &iov, 1, 0, NULL);
	cr_assert_eq(bpull_engine_fd(engine), fd);
	cr_assert(is_readable(fd, 10000), "what there is when it asks is told");
	while (!bpull_engine_poll(engine, &event, 1))
		;
	bpull_engine_close(engine);
}

/* Looks 0 to 3 times, then sleeps: every request's end wakes it. */
static void looks_and_sleeps(enum bpull_io io)
{
	uint8_t bytes[PIECE] = { 0 };
	struct iovec iov = { bytes, sizeof(bytes) };
	struct bpull_event event;

	open_polled(io);
	for (unsigned i = 0; i < 4 * N_OPS; i++) {
		int n = 0, n_looks = (int)(i % 4);

		if (i % 100 == 99)
			bpull_flush(disk, NULL);
		else if (i % 2)
			bpull_write(disk, &iov, 1, i * UINT64_C(4096) % (BASE_LEN - PIECE), 0,
				    NULL);
		else
			bpull_read(disk, &iov, 1, i * UINT64_C(8192) % (BASE_LEN - PIECE), NULL);
		while (!n) {
			for (int k = 0; k < n_looks && !n; k++)
				n = bpull_engine_poll(engine, &event, 1);
			cr_assert(n || is_readable(bpull_engine_fd(engine), 20000),
				  "request %u: nothing wakes the program", i);
			if (!n)
				n = bpull_engine_poll(engine, &event, 1);
		}
		cr_assert_eq(n, 1);
		cr_assert_eq(event.error, 0, "request %u: %s", i, strerror(-event.error));
	}
	bpull_engine_close(engine);
}

Test(engine_wait, what_ends_behind_the_last_look_wakes_with_io_uring)
{
	looks_and_sleeps(BPULL_IO_URING);
}

Test(engine_wait, what_ends_behind_the_last_look_wakes_with_threads)
{
	looks_and_sleeps(BPULL_IO_THREADS);
}
