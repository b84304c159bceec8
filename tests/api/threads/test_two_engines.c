/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two engines in one process over the same files. Locks are by open description,
 * so that to each of them the other is a stranger: an image that one writes is
 * refused to the other in every state of its job, and a base that either reads is
 * kept for both, until the last has dropped it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

#define LEN     (2u << 20)
#define WAIT_MS 20000

static uint8_t bytes[LEN];
static struct bpull_engine *engines[2];

static void set_up(void)
{
	scratch_make();
	for (size_t i = 0; i < LEN; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 1000 + 1);
	scratch_file("base.raw", bytes, LEN);
	make_overlay("a", BPULL_FORMAT_QCOW2, "base.raw");
	make_overlay("b", BPULL_FORMAT_QCOW2, "base.raw");
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(bpull_engine_open(NULL, &engines[i], NULL), 0);
}

static void tear_down(void)
{
	for (unsigned i = 0; i < 2; i++)
		bpull_engine_close(engines[i]);
	scratch_remove();
}

TestSuite(two_engines, .init = set_up, .fini = tear_down, .timeout = 120);

static int try_open(unsigned engine, const char *name, enum bpull_format format,
		    struct bpull_disk **disk)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = format,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };
	int rc = bpull_disk_open(engines[engine], scratch(name), &o, disk, &error);

	if (rc)
		cr_assert(strstr(error.message, name), "%s", error.message);
	return rc;
}

static struct bpull_disk *open_disk(unsigned engine, const char *name)
{
	struct bpull_disk *disk;

	cr_assert_eq(try_open(engine, name, BPULL_FORMAT_QCOW2, &disk), 0);
	return disk;
}

/* Both refuse: a lock of its own is none that an engine may step over either. */
static void expect_refused(const char *name, enum bpull_format format, const char *when)
{
	for (unsigned i = 0; i < 2; i++) {
		struct bpull_disk *disk;

		cr_assert_eq(try_open(i, name, format, &disk), -EBUSY, "%s %s, engine %u", name,
			     when, i);
	}
}

static enum bpull_job_status wait_for(unsigned engine)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engines[engine], &event, 1, WAIT_MS), 1);
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	return event.status;
}

static void expect_bytes(unsigned engine, struct bpull_disk *disk)
{
	uint8_t *got = malloc(LEN);
	struct iovec iov = { got, LEN };
	struct bpull_event event;

	bpull_read(disk, &iov, 1, 0, got);
	cr_assert_eq(bpull_engine_wait(engines[engine], &event, 1, WAIT_MS), 1);
	cr_assert(event.type == BPULL_EVENT_IO && !event.error && event.user_data == got);
	cr_assert(!memcmp(got, bytes, LEN));
	free(got);
}

Test(two_engines, each_is_a_stranger_to_the_other)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .flags =
					       BPULL_JOB_START_PAUSED | BPULL_JOB_MANUAL_FINALIZE };
	struct bpull_disk *a = open_disk(0, "a"), *b = open_disk(1, "b"), *base;

	expect_refused("a", BPULL_FORMAT_QCOW2, "is open");
	expect_refused("base.raw", BPULL_FORMAT_RAW, "is read by both");
	cr_assert_eq(bpull_job_start(a, &o, NULL), 0);
	bpull_engine_process(engines[0], NULL, 0);
	expect_refused("a", BPULL_FORMAT_QCOW2, "has a paused job");
	bpull_job_resume(a);
	cr_assert_eq(wait_for(0), BPULL_JOB_READY);
	expect_refused("a", BPULL_FORMAT_QCOW2, "waits to be finalized");
	expect_bytes(1, b);
	bpull_job_finalize(a);
	cr_assert_eq(wait_for(0), BPULL_JOB_COMPLETED);
	expect_refused("a", BPULL_FORMAT_QCOW2, "is pulled");
	/* The one has dropped it, the other reads on. */
	expect_refused("base.raw", BPULL_FORMAT_RAW, "is read by one");
	expect_bytes(1, b);
	cr_assert_eq(bpull_job_start(b, NULL, NULL), 0);
	cr_assert_eq(wait_for(1), BPULL_JOB_COMPLETED);
	cr_assert_eq(try_open(0, "base.raw", BPULL_FORMAT_RAW, &base), 0, "it is locked still");
	bpull_disk_close(base);
	expect_bytes(0, a);
	expect_bytes(1, b);
	bpull_disk_close(a);
	a = open_disk(1, "a");
	expect_bytes(1, a);
	expect_refused("a", BPULL_FORMAT_QCOW2, "is open in the other engine");
}

/* A job that is aborted keeps what it reads locked for its own engine's disk. */
Test(two_engines, an_abort_in_one_lets_go_of_nothing)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_START_PAUSED };
	struct bpull_disk *a = open_disk(0, "a"), *b = open_disk(1, "b");

	cr_assert_eq(bpull_job_start(a, &o, NULL), 0);
	bpull_job_abort(a);
	cr_assert_eq(wait_for(0), BPULL_JOB_CANCELED);
	bpull_disk_close(b);
	expect_refused("base.raw", BPULL_FORMAT_RAW, "is read still");
	expect_refused("a", BPULL_FORMAT_QCOW2, "is open still");
	expect_bytes(0, a);
}
