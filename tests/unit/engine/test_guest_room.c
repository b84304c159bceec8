/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Many more requests than an engine has memory for: all of them end well, and those
 * that are worked at stay within their share. And a buffer that can't be written.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "io/base.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN (64 * MiB)
#define N_REQS   4000

TIME_LIMIT(120);
TestSuite(guest_room, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(120));

static struct bpull_engine *engine;
static struct bpull_disk *disk;

static bool start(enum bpull_io io)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = io, .memory = 8 * MiB };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };
	char *bytes;

	if (bpull_engine_open(&eo, &engine, &error))
		return false;
	bytes = malloc(BASE_LEN);
	memset(bytes, 0x5a, BASE_LEN);
	scratch_file("base.raw", bytes, BASE_LEN);
	free(bytes);
	unlink(scratch("top.qcow2"));
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
	disk_overlay(disk)->data->now.always = false; /* wherever the scratch directory lies */
	return true;
}

/* Until all have ended; no more than have room at any time, and more than one. */
static void run(unsigned n)
{
	struct bpull_event events[64];
	uint64_t most = 0;

	while (n) {
		int got = bpull_engine_wait(engine, events, 64, 60000);

		cr_assert_gt(got, 0);
		most = MAX(most, engine->guests.cost);
		cr_assert_leq(engine->guests.cost, engine->guests.cost_limit);
		for (int i = 0; i < got; i++)
			cr_assert_eq(events[i].error, 0);
		n -= (unsigned)got;
	}
	cr_assert_eq(engine->guests.cost, 0);
	cr_assert_null(engine->guests.waiting.first);
}

static void many(enum bpull_io io)
{
	static char put[N_REQS][512], got[N_REQS][512];
	struct iovec iov = { .iov_len = 512 };

	if (!start(io))
		return;
	for (unsigned i = 0; i < N_REQS; i++) {
		memset(put[i], (int)(i % 255), sizeof(put[i]));
		iov.iov_base = put[i];
		bpull_write(disk, &iov, 1, i * UINT64_C(16384) + 512, 0, NULL);
	}
	cr_assert_not_null(engine->guests.waiting.first, "all had room: this shows nothing");
	run(N_REQS);
	for (unsigned i = 0; i < N_REQS; i++) {
		iov.iov_base = got[i];
		bpull_read(disk, &iov, 1, i * UINT64_C(16384) + 512, NULL);
	}
	run(N_REQS);
	cr_assert_arr_eq(put, got, sizeof(put));
	/* Closing ends what waits for room, too. */
	for (unsigned i = 0; i < N_REQS; i++)
		bpull_write(disk, &iov, 1, i * UINT64_C(16384) + 512, 0, NULL);
	cr_assert_not_null(engine->guests.waiting.first);
	bpull_engine_close(engine);
}

Test(guest_room, more_requests_than_there_is_room_all_end_on_uring)
{
	many(BPULL_IO_URING);
}

Test(guest_room, more_requests_than_there_is_room_all_end_on_threads)
{
	many(BPULL_IO_THREADS);
}

/* Data is copied by the kernel, which says so; the disk and the engine go on. */
static void bad_buffer(enum bpull_io io)
{
	char *page, good[4096];
	struct bpull_event event;
	struct iovec iov = { .iov_len = 4096 };

	if (!start(io))
		return;
	page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(page, MAP_FAILED);
	for (int i = 0; i < 3; i++) {
		iov.iov_base = i == 2 ? good : page;
		if (i == 1)
			bpull_write(disk, &iov, 1, 65536, 0, NULL);
		else
			bpull_read(disk, &iov, 1, 4096, NULL);
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1);
		cr_expect_eq(event.error, i == 2 ? 0 : -EFAULT, "%d: %d", i, event.error);
	}
	cr_expect_eq(good[0], 0x5a);
	cr_expect_not(disk->chain->layers[1]->file->now.no_reads, "the file is slower from now on");
	bpull_flush(disk, NULL);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1);
	cr_expect_eq(event.error, 0);
	munmap(page, 4096);
	bpull_engine_close(engine);
}

Test(guest_room, a_buffer_that_is_not_mapped_fails_one_request_on_uring)
{
	bad_buffer(BPULL_IO_URING);
}

Test(guest_room, a_buffer_that_is_not_mapped_fails_one_request_on_threads)
{
	bad_buffer(BPULL_IO_THREADS);
}
