/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The end of an active commit, with a call on the old image's file held up inside (gate.h): what a
 * guest does not wait for. Where it does, the test hangs until its time limit.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/api/engine.h"
#include "engine/api/thread.h"
#include "engine/core/disk.h"
#include "io/backends/backend.h"
#include "io/base.h"
#include "io/io.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/gate.h"
#include "tests/support/time_limit.h"

#define LEN (4 * MiB)

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static struct bpull_error error;

static void open_upper(void)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.flags = BPULL_DISK_GUEST_IO };

	cr_assert_eq(bpull_disk_open(engine, scratch("upper"), &o, &disk, &error), 0, "%s",
		     error.message);
}

static void write_all(int byte)
{
	static uint8_t buf[LEN];

	memset(buf, byte, LEN);
	cr_assert_eq(bpull_pwrite(disk, buf, LEN, 0, 0), 0);
}

static void check_all(int byte)
{
	static uint8_t buf[LEN];

	cr_assert_eq(bpull_pread(disk, buf, LEN, 0), 0);
	for (size_t i = 0; i < LEN; i++)
		cr_assert_eq(buf[i], byte, "byte %zu is %d, not %d", i, buf[i], byte);
}

static void set_up(void)
{
	struct err err = { 0 };
	struct io *io;

	scratch_make();
	scratch_filled("lower", 1, LEN);
	make_overlay("upper", BPULL_FORMAT_QCOW2, "lower");
	cr_assert_eq(io_open(IO_CHOICE_AUTO, 64, &io, &err), 0, "%s", err.message);
	cr_assert_eq(engine_open_on(io, gate_opener(), 16 * MiB, &engine), 0);
	cr_assert_eq(engine_thread_start(engine), 0);
	open_upper();
	write_all(2);
}

static void tear_down(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TIME_LIMIT(60);
TestSuite(pivot, .init = set_up, .fini = tear_down, .timeout = TIME_LIMIT_CLOCK(60));

static void start_commit(uint32_t flags)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .type = BPULL_JOB_TYPE_COMMIT,
				       .flags = flags };

	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
}

static uint64_t upper_space(void)
{
	struct stat st;

	cr_assert_eq(stat(scratch("upper"), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* A file system may take seconds to free gigabytes. */
Test(pivot, a_guest_does_not_wait_until_space_is_given_back)
{
	gate_shut(GATE_TRUNCATE, "upper", 1);
	start_commit(0);
	gate_wait();
	check_all(2);
	write_all(3);
	cr_assert_gt(upper_space(), LEN, "it was given back already");
	gate_open();
	while (bpull_job_wait(disk, -1))
		;
	check_all(3);
	cr_assert_lt(upper_space(), LEN / 2);
	bpull_disk_close(disk);
	open_upper();
	check_all(3);
}

/* A program that closes the disk now takes the job for aborted, and opens the old image again. */
Test(pivot, nothing_is_written_below_a_kept_image_before_the_job_is_over)
{
	struct iovec iov = { (uint8_t[512]){ 3 }, 512 };
	struct bpull_event event;
	bool is_early;

	gate_shut(GATE_CLOSE, "upper", 1);
	start_commit(BPULL_JOB_KEEP);
	gate_wait();
	bpull_write(disk, &iov, 1, 0, 0, &iov);
	is_early = bpull_engine_wait(engine, &event, 1, 100);
	gate_open();
	cr_assert_not(is_early, "an event of type %d came before the end", (int)event.type);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, -1), 1);
	cr_assert(event.type == BPULL_EVENT_JOB && event.status == BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, -1), 1);
	cr_assert(event.type == BPULL_EVENT_IO && !event.error);
}
