/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A write that takes no waiting is over within the call, also where the file system could make it
 * wait but has not done so lately. All others are requests, and what they write is as right.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/guest/hold.h"
#include "io/base.h"
#include "io/file.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define DISK_LEN (4 * MiB)
#define CLUSTER  (64 * KiB)
#define LEN      (8 * KiB)
#define AT       (CLUSTER + LEN)

TIME_LIMIT(60);
TestSuite(write_now, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static _Alignas(4096) uint8_t want[DISK_LEN], buf[DISK_LEN];

static void take_end(int error)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1);
	cr_assert_eq(event.error, error);
}

static void write_at(uint64_t off, uint64_t len, uint32_t flags)
{
	struct iovec iov[] = { { want + off, 512 }, { want + off + 512, len - 512 } };

	for (uint64_t i = 0; i < len; i++)
		want[off + i] = (uint8_t)rand();
	bpull_write(disk, iov, 2, off, flags, NULL);
}

static bool is_over(void)
{
	return !disk->guests.first && engine->guests.done.first && !engine->io->n_in_flight;
}

/* Whatever else this machine does: another program may have made the last write a long one. */
static void expect_now(uint64_t off, uint64_t len)
{
	disk->guests.calm = (struct calm){ 0 };
	write_at(off, len, 0);
	cr_assert(is_over(), "it is a request");
	take_end(0);
}

static void expect_request(uint64_t off, uint64_t len, uint32_t flags)
{
	write_at(off, len, flags);
	cr_assert_not(is_over());
	take_end(0);
}

/* The first half of the disk has space of its own; the second is the base's. Its file system may
 * make writers wait, wherever the scratch directory lies. */
static void start(enum bpull_io io)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = io };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };
	struct file *data;

	memset(want, 0x5a, DISK_LEN);
	scratch_file("base.raw", want, DISK_LEN);
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	if (bpull_engine_open(&eo, &engine, &error) != 0 && io == BPULL_IO_URING)
		scratch_skip("%s", error.message);
	cr_assert_not_null(engine, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
	data = disk_overlay(disk)->data;
	data->now.always = false;
	data->now.no_writes = true;
	write_at(0, DISK_LEN / 2, 0);
	take_end(0);
	bpull_flush(disk, NULL); /* so that no commit becomes due later */
	take_end(0);
}

static void end(void)
{
	struct iovec iov = { buf, DISK_LEN };

	bpull_read(disk, &iov, 1, 0, NULL);
	take_end(0);
	cr_assert_arr_eq(buf, want, DISK_LEN);
	bpull_engine_close(engine);
}

static void writes_are_over_at_once(enum bpull_io io)
{
	struct bpull_disk_stats stats;

	start(io);
	for (unsigned i = 0; i < 200; i++)
		expect_now((uint64_t)rand() % (DISK_LEN / 2 / LEN) * LEN, LEN);
	stats.size = sizeof(stats);
	cr_assert_eq(bpull_disk_get_stats(disk, &stats), 0);
	cr_assert_eq(stats.write.requests, 201);
	cr_assert_eq(stats.write.bytes, 200 * LEN + DISK_LEN / 2);
	bpull_flush(disk, NULL);
	cr_assert_eq(disk->commits.undurable, true, "the flush would do nothing");
	take_end(0);
	end();
}

Test(write_now, whole_pages_are_over_at_once_with_the_ring)
{
	writes_are_over_at_once(BPULL_IO_URING);
}

Test(write_now, whole_pages_are_over_at_once_with_threads)
{
	writes_are_over_at_once(BPULL_IO_THREADS);
}

/* Parts of pages may have to be read first; new space, two extents, durability take more. */
Test(write_now, other_writes_are_requests)
{
	start(BPULL_IO_AUTO);
	expect_request(AT + 512, LEN, 0);
	expect_request(AT, LEN - 512, 0);
	expect_request(AT, LEN, BPULL_IO_FUA);
	expect_request(DISK_LEN / 2, LEN, 0);
	expect_request(0, 256 * KiB, 0);
	end();
}

Test(write_now, after_a_long_one_a_pause_is_made)
{
	struct calm *calm;
	uint64_t now_ns;

	start(BPULL_IO_AUTO);
	calm = &disk->guests.calm;
	expect_now(AT, LEN);
	now_ns = engine_now_ns();
	calm_note(calm, now_ns - CALM_LONG_NS, now_ns + 3600 * UINT64_C(1000000000));
	expect_request(AT, LEN, 0);
	expect_now(AT, LEN);
	disk_overlay(disk)->data->now.no_writes = false; /* the ring begins it */
	expect_request(AT, LEN, 0);
	end();
}

/* It waits behind what has the cluster, and for the end of a hold. */
Test(write_now, a_write_overtakes_nothing_that_has_its_place)
{
	struct range_lock lock = { .guest_off = CLUSTER, .len = CLUSTER };
	struct bpull_event event;

	start(BPULL_IO_AUTO);
	cr_assert(range_lock_take(&disk->locks, &lock));
	expect_now(AT + CLUSTER, LEN);
	write_at(AT, LEN, 0);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 10), 0, "it did not wait");
	range_lock_release(&disk->locks, &lock, op_granted);
	take_end(0);

	guest_hold(disk);
	write_at(AT, LEN, 0);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 10), 0, "it was not held");
	guest_release(disk);
	take_end(0);
	end();
}

Test(write_now, a_write_beside_a_job_is_a_request)
{
	struct bpull_job_options job = { .size = sizeof(job), .flags = BPULL_JOB_START_PAUSED };
	struct bpull_error error = { 0 };
	struct bpull_event event;

	start(BPULL_IO_AUTO);
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	while (bpull_engine_wait(engine, &event, 1, 10) == 1)
		;
	write_at(AT, LEN, 0);
	cr_assert_not(is_over());
	take_end(0);
	end();
}
