/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An image in memory (tmpfs): its bytes are read and written within the call, on the thread of the
 * engine, and no request goes to the backend. What is written is what an engine reads later.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "io/base.h"
#include "io/file/opener.h"
#include "io/now.h"
#include "io/posix/opener.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define DISK_LEN (4 * MiB)
#define CLUSTER  (64 * KiB)
#define TMPFS    0x01021994

TIME_LIMIT(60);

static void scratch_in_memory(void)
{
	struct statfs fs;

	cr_assert(!statfs("/dev/shm", &fs) && fs.f_type == TMPFS, "/dev/shm is no tmpfs");
	setenv("TMPDIR", "/dev/shm", 1);
	scratch_make();
}

TestSuite(in_memory, .init = scratch_in_memory, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(60));

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static uint8_t want[DISK_LEN], buf[DISK_LEN];

static void open_disk(enum bpull_io io)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = io };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };

	if (bpull_engine_open(&eo, &engine, &error) != 0 && io == BPULL_IO_URING)
		scratch_skip("%s", error.message);
	cr_assert_not_null(engine, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
}

/* The request that was submitted last ends well. */
static void wait_end(void)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1);
	cr_assert_eq(event.error, 0);
}

/* ... and has ended already, without a wait. */
static void expect_ended(void)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_process(engine, &event, 1), 1, "it waits for the backend");
	cr_assert_eq(event.error, 0);
	cr_assert_eq(engine->io->n_in_flight, 0);
}

static void draw(uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		want[off + i] = (uint8_t)rand();
}

/* The first half of the disk has space of its own; the second is the base's. */
static void start(enum bpull_io io)
{
	struct iovec iov = { want, DISK_LEN / 2 };

	memset(want, 0x5a, DISK_LEN);
	scratch_file("base.raw", want, DISK_LEN);
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	open_disk(io);
	draw(0, DISK_LEN / 2);
	bpull_write(disk, &iov, 1, 0, 0, NULL);
	wait_end();
	bpull_flush(disk, NULL); /* so that no commit becomes due later */
	wait_end();
}

static void expect_all(void)
{
	struct iovec iov = { buf, DISK_LEN };

	bpull_read(disk, &iov, 1, 0, NULL);
	wait_end();
	cr_assert_arr_eq(buf, want, DISK_LEN);
}

/* Over the ends of clusters, in two vectors, zeros among them. */
static void write_somewhere(unsigned i)
{
	uint64_t len = 512 * (1 + (uint64_t)rand() % 200);
	uint64_t off = 512 * ((uint64_t)rand() % ((DISK_LEN / 2 - len) / 512));
	struct iovec iov[] = { { want + off, 512 }, { want + off + 512, len - 512 } };

	if (i % 8) {
		draw(off, len);
		bpull_write(disk, iov, 2, off, 0, NULL);
	} else {
		off = off / CLUSTER * CLUSTER + 512;
		memset(want + off, 0, 4096);
		bpull_write_zeroes(disk, off, 4096, 0, NULL);
	}
}

static void nothing_waits(enum bpull_io io)
{
	struct iovec iov = { buf, 4096 };

	start(io);
	for (unsigned i = 0; i < 500; i++) {
		write_somewhere(i);
		expect_ended();
		bpull_read(disk, &iov, 1, 4096 * (i % 1024), NULL);
		expect_ended();
		cr_assert_arr_eq(buf, want + 4096 * (i % 1024), 4096);
	}
	expect_all();
	bpull_flush(disk, NULL);
	wait_end();
	bpull_engine_close(engine);
	open_disk(io);
	expect_all();
	bpull_engine_close(engine);
}

Test(in_memory, reads_and_writes_do_not_wait_with_the_ring)
{
	nothing_waits(BPULL_IO_URING);
}

Test(in_memory, reads_and_writes_do_not_wait_with_threads)
{
	nothing_waits(BPULL_IO_THREADS);
}

/* A write that is longer, or goes to new space, is a request, and what it writes is as right. */
Test(in_memory, other_writes_are_requests)
{
	struct iovec iov = { want + 4096, MiB };
	struct iovec new = { want + DISK_LEN / 2 + 512, 4096 };

	start(BPULL_IO_AUTO);
	draw(4096, MiB);
	bpull_write(disk, &iov, 1, 4096, 0, NULL);
	wait_end();
	draw(DISK_LEN / 2 + 512, 4096);
	bpull_write(disk, &new, 1, DISK_LEN / 2 + 512, 0, NULL);
	wait_end();
	expect_all();
	bpull_engine_close(engine);
}

/* The kernel refuses the memory: the request says so, and the disk goes on. */
Test(in_memory, a_bad_buffer_is_an_error_of_its_own)
{
	struct iovec iov = { (void *)16, 4096 };
	struct bpull_event event;

	start(BPULL_IO_AUTO);
	bpull_write(disk, &iov, 1, 8192, 0, NULL);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1);
	cr_assert_eq(event.error, -EFAULT);
	expect_all();
	bpull_engine_close(engine);
}

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Runs the job as a program does that has more to do. Returns the longest call's time. */
static double longest_call(void)
{
	struct bpull_event event;
	double longest = 0;
	int n;

	do {
		struct pollfd pfd = { .fd = bpull_engine_fd(engine), .events = POLLIN };
		double began;

		cr_assert_eq(poll(&pfd, 1, 30000), 1, "the job stands still");
		began = cpu_ms();
		n = bpull_engine_process(engine, &event, 1);
		longest = MAX(longest, cpu_ms() - began);
	} while (!n);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	return longest;
}

/* Nothing of it takes a wait, and all of it 0.1 s. */
Test(in_memory, a_job_does_not_keep_the_program)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_READ_HOLES };
	struct bpull_error error = { 0 };
	const double limit_ms = 30 * TIME_LIMIT_SLOWDOWN;
	double longest;

	scratch_filled("base.raw", 0, 1);
	cr_assert_eq(truncate(scratch("base.raw"), 512 * MiB), 0);
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_engine_open(NULL, &engine, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), 0, "%s", error.message);
	longest = longest_call();
	cr_expect_lt(longest, limit_ms, "a call took %.1f ms", longest);
	bpull_engine_close(engine);
}

Test(in_memory, a_file_writes_on_the_spot_only_what_it_has)
{
	struct file_opener *opener = file_opener_posix();
	struct file_open how = { .name = scratch_file("f", "0123456789", 10), .write = true };
	char put[] = "abcd";
	struct iovec iov = { put, 4 };
	struct err err = { 0 };
	struct file *file;
	char got[10];

	cr_assert_eq(opener->open(opener, &how, &file, &err), 0, "%s", err.message);
	cr_assert(file->now.always);
	cr_assert(file_write_now(file, &iov, 1, 4, 6));
	cr_assert_not(file_write_now(file, &iov, 1, 4, 7), "it would become longer");
	cr_assert_not(file_write_now(file, &iov, 1, 4, UINT64_MAX - 2));
	file->io_align = 512;
	cr_assert_not(file_write_now(file, &iov, 1, 4, 0), "a direct one");
	file->io_align = 1;
	file->writable = false;
	cr_assert_not(file_write_now(file, &iov, 1, 4, 0));
	cr_assert_eq(file_read(file, got, 10, 0), 0);
	cr_assert_arr_eq(got, "012345abcd", 10);
	file_close(file);
}
