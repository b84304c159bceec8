/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See yields_rig.h. */
#include "tests/unit/engine/yields_rig.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/api/engine.h"
#include "engine/api/thread.h"
#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "io/backends/backend.h"
#include "io/base.h"
#include "io/io.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/gate.h"

struct bpull_engine *yields_engine;
struct bpull_disk *yields_guest;

struct bpull_disk *yields_open_disk(const char *name, uint32_t flags, int *rc)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.flags = flags };
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	char path[512];
	int got;

	snprintf(path, sizeof(path), "%s/%s", scratch_dir(), name);
	got = bpull_disk_open(yields_engine, path, &o, &disk, &error);

	if (rc)
		*rc = got;
	else
		cr_assert_eq(got, 0, "%s", error.message);
	return disk;
}

void yields_fill(const char *name)
{
	struct bpull_disk *disk = yields_open_disk(name, BPULL_DISK_GUEST_IO, NULL);
	uint8_t buf[PIECE];

	for (uint64_t at = 0; at < BASE_LEN; at += PIECE) {
		memset(buf, (int)(at / PIECE), PIECE);
		cr_assert_eq(bpull_pwrite(disk, buf, PIECE, at, 0), 0);
	}
	bpull_disk_close(disk);
}

void yields_check_read(struct bpull_disk *disk, uint64_t at, int expected)
{
	uint8_t buf[4096];

	cr_assert_eq(bpull_pread(disk, buf, sizeof(buf), at), 0);
	for (unsigned i = 0; i < sizeof(buf); i++)
		cr_assert_eq(buf[i], expected, "byte %llu is %d, not %d",
			     (unsigned long long)at + i, buf[i], expected);
}

void yields_make_top(const char *name)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .backing_name = "template",
					  .backing_format = BPULL_FORMAT_QCOW2 };
	struct bpull_error error = { 0 };

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}

void yields_open_engine(enum io_choice choice)
{
	struct err err = { 0 };
	struct io *io;

	cr_assert_eq(io_open(choice, 64, &io, &err), 0, "%s", err.message);
	cr_assert_eq(engine_open_on(io, gate_opener(), 16 * MiB, &yields_engine), 0);
	cr_assert_eq(engine_thread_start(yields_engine), 0);
}

void yields_begin(void)
{
	scratch_make();
	scratch_filled("raw", 0x5a, BASE_LEN);
	scratch_filled("zeros", 0, BASE_LEN);
	make_overlay("guest", BPULL_FORMAT_QCOW2, "raw");
	make_overlay("template", BPULL_FORMAT_QCOW2, "zeros");
	yields_open_engine(IO_CHOICE_AUTO);
	yields_fill("template");
	yields_guest = yields_open_disk("guest", BPULL_DISK_GUEST_IO, NULL);
	yields_make_top("top");
	yields_make_top("top2");
}

void yields_end(void)
{
	bpull_engine_close(yields_engine);
	scratch_remove();
}

static void *yields_run_call(void *opaque)
{
	struct call *call = opaque;

	call->run(call);
	return NULL;
}

void yields_begin_call(struct call *call)
{
	cr_assert_eq(pthread_create(&call->thread, NULL, yields_run_call, call), 0);
}

void yields_end_call(struct call *call)
{
	pthread_join(call->thread, NULL);
}

void yields_call_open(struct call *call)
{
	call->disk = yields_open_disk(call->name, call->flags, &call->rc);
}

void yields_call_start(struct call *call)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = call->flags };

	call->rc = bpull_job_start(call->disk, &o, NULL);
}

void yields_call_check(struct call *call)
{
	struct bpull_job_options o = { .size = sizeof(o) };

	call->rc = bpull_job_check(call->disk, &o, NULL);
}

void yields_call_map(struct call *call)
{
	struct bpull_extent extent;

	call->rc = bpull_disk_map(call->disk, 0, &extent, 1, NULL);
}

void yields_call_close(struct call *call)
{
	bpull_disk_close(call->disk);
}

void yields_call_read(struct call *call)
{
	yields_check_read(call->disk, 7 * PIECE, 7);
}

void yields_guest_goes_on(struct call *call)
{
	uint8_t byte = 0x77;

	yields_begin_call(call);
	gate_wait();
	yields_check_read(yields_guest, BASE_LEN / 2, 0x5a);
	cr_assert_eq(bpull_pwrite(yields_guest, &byte, 1, 12345, 0), 0);
	cr_assert_eq(bpull_pflush(yields_guest), 0);
	gate_open();
	yields_end_call(call);
}
