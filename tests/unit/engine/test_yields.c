/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An engine with a thread of its own, while one of its disks is opened, started or
 * closed: a call that waits for a file there keeps no other disk's guest waiting. A
 * call is held up inside (gate.h), and what must go on meanwhile is done: where it
 * does not, the test hangs until its time limit. No clock is asked. All of it at
 * once, for the sanitizers: disks_driver.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/core/table_cache.h"
#include "engine/api/engine.h"
#include "engine/api/thread.h"
#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "io/backends/backend.h"
#include "io/io.h"
#include "io/base.h"
#include "tests/support/gate.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN (4 * MiB)
#define PIECE    UINT64_C(65536)

static struct bpull_engine *engine;
static struct bpull_disk *guest; /* over a raw base */

static struct bpull_disk *open_disk(const char *name, uint32_t flags, int *rc)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.flags = flags };
	struct bpull_disk *disk = NULL;
	struct bpull_error error = { 0 };
	char path[512];
	int got;

	snprintf(path, sizeof(path), "%s/%s", scratch_dir(), name);
	got = bpull_disk_open(engine, path, &o, &disk, &error);

	if (rc)
		*rc = got;
	else
		cr_assert_eq(got, 0, "%s", error.message);
	return disk;
}

/* Byte i of every piece is the piece's number. */
static void fill(const char *name)
{
	struct bpull_disk *disk = open_disk(name, BPULL_DISK_GUEST_IO, NULL);
	uint8_t buf[PIECE];

	for (uint64_t at = 0; at < BASE_LEN; at += PIECE) {
		memset(buf, (int)(at / PIECE), PIECE);
		cr_assert_eq(bpull_pwrite(disk, buf, PIECE, at, 0), 0);
	}
	bpull_disk_close(disk);
}

static void check_read(struct bpull_disk *disk, uint64_t at, int expected)
{
	uint8_t buf[4096];

	cr_assert_eq(bpull_pread(disk, buf, sizeof(buf), at), 0);
	for (unsigned i = 0; i < sizeof(buf); i++)
		cr_assert_eq(buf[i], expected, "byte %llu is %d, not %d",
			     (unsigned long long)at + i, buf[i], expected);
}

static void make_top(const char *name)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .backing_name = "template",
					  .backing_format = BPULL_FORMAT_QCOW2 };
	struct bpull_error error = { 0 };

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}

static void open_engine(enum io_choice choice)
{
	struct err err = { 0 };
	struct io *io;

	cr_assert_eq(io_open(choice, 64, &io, &err), 0, "%s", err.message);
	cr_assert_eq(engine_open_on(io, gate_opener(), 16 * MiB, &engine), 0);
	cr_assert_eq(engine_thread_start(engine), 0);
}

static void begin(void)
{
	scratch_make();
	scratch_filled("raw", 0x5a, BASE_LEN);
	scratch_filled("zeros", 0, BASE_LEN);
	make_overlay("guest", BPULL_FORMAT_QCOW2, "raw");
	make_overlay("template", BPULL_FORMAT_QCOW2, "zeros");
	open_engine(IO_CHOICE_AUTO);
	fill("template");
	guest = open_disk("guest", BPULL_DISK_GUEST_IO, NULL);
	make_top("top");
	make_top("top2");
}

static void end(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TIME_LIMIT(60);
TestSuite(yields, .init = begin, .fini = end, .timeout = TIME_LIMIT_CLOCK(60));

/* ---- what is held up, in a thread of its own ---- */

struct call {
	pthread_t thread;
	void (*run)(struct call *call);
	const char *name;
	uint32_t flags;
	struct bpull_disk *disk;
	int rc;
};

static void *run_call(void *opaque)
{
	struct call *call = opaque;

	call->run(call);
	return NULL;
}

static void begin_call(struct call *call)
{
	cr_assert_eq(pthread_create(&call->thread, NULL, run_call, call), 0);
}

static void end_call(struct call *call)
{
	pthread_join(call->thread, NULL);
}

static void call_open(struct call *call)
{
	call->disk = open_disk(call->name, call->flags, &call->rc);
}

static void call_start(struct call *call)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = call->flags };

	call->rc = bpull_job_start(call->disk, &o, NULL);
}

static void call_check(struct call *call)
{
	struct bpull_job_options o = { .size = sizeof(o) };

	call->rc = bpull_job_check(call->disk, &o, NULL);
}

static void call_map(struct call *call)
{
	struct bpull_extent extent;

	call->rc = bpull_disk_map(call->disk, 0, &extent, 1, NULL);
}

static void call_close(struct call *call)
{
	bpull_disk_close(call->disk);
}

static void call_read(struct call *call)
{
	check_read(call->disk, 7 * PIECE, 7);
}

/* The guest of another disk reads and writes while the call stands at the gate. */
static void guest_goes_on(struct call *call)
{
	uint8_t byte = 0x77;

	begin_call(call);
	gate_wait();
	check_read(guest, BASE_LEN / 2, 0x5a);
	cr_assert_eq(bpull_pwrite(guest, &byte, 1, 12345, 0), 0);
	cr_assert_eq(bpull_pflush(guest), 0);
	gate_open();
	end_call(call);
}

Test(yields, an_open_that_waits_for_a_file)
{
	struct call call = { .run = call_open, .name = "top" };

	gate_shut(GATE_OPEN, "template", 1);
	guest_goes_on(&call);
	cr_assert_eq(call.rc, 0);
	cr_assert_eq(bpull_disk_depth(call.disk), 3);
}

Test(yields, an_open_that_reads_a_header)
{
	struct call call = { .run = call_open, .name = "top" };

	gate_shut(GATE_READ, "template", 1);
	guest_goes_on(&call);
	cr_assert_eq(call.rc, 0);
}

/* Every read of an audit, one after the other. */
Test(yields, an_open_that_audits)
{
	for (unsigned n = 1; n <= 12; n++) {
		struct call call = { .run = call_open,
				     .name = "top",
				     .flags = BPULL_DISK_GUEST_IO };

		gate_shut(GATE_READ, "top", n);
		guest_goes_on(&call);
		cr_assert_eq(call.rc, 0);
		check_read(call.disk, 3 * PIECE, 3);
		bpull_disk_close(call.disk);
	}
}

static int lock_as_writer(const char *name)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1 };
	int fd = open(scratch(name), O_RDWR | O_CLOEXEC);

	cr_assert(fd >= 0 && !fcntl(fd, F_OFD_SETLK, &lock));
	return fd;
}

Test(yields, an_open_that_waits_for_a_lock)
{
	struct call call = { .run = call_open, .name = "top" };
	int fd = lock_as_writer("top");

	gate_shut(GATE_LOCK_WAIT, "top", 1);
	begin_call(&call);
	gate_wait();
	check_read(guest, 0, 0x5a);
	close(fd);
	gate_open();
	end_call(&call);
	cr_assert_eq(call.rc, 0);
}

Test(yields, an_open_that_is_refused)
{
	struct call call = { .run = call_open, .name = "top" };
	int fd = lock_as_writer("top");

	gate_shut(GATE_LOCK_WAIT, "top", 1);
	guest_goes_on(&call);
	cr_assert_eq(call.rc, -EBUSY);
	close(fd);
}

/* Each read of a start, of the image itself and of what it reads through to. */
Test(yields, a_start_that_reads_tables)
{
	static const struct {
		const char *name;
		unsigned n;
	} reads[] = { { "top", 1 }, { "top", 2 },      { "top", 3 },     { "top", 4 },
		      { "top", 5 }, { "template", 1 }, { "template", 2 } };

	for (unsigned i = 0; i < ARRAY_LEN(reads); i++) {
		struct call call = { .run = call_start, .flags = BPULL_JOB_START_PAUSED };

		call.disk = open_disk("top", 0, NULL);
		gate_shut(GATE_READ, reads[i].name, reads[i].n);
		guest_goes_on(&call);
		cr_assert_eq(call.rc, 0);
		bpull_disk_close(call.disk);
	}
}

/* The start loads a table of a shared image by itself, and another disk's guest wants that very
 * table. */
Test(yields, a_table_that_a_start_is_reading)
{
	struct bpull_disk *other = open_disk("top2", BPULL_DISK_GUEST_IO, NULL);
	struct call start = { .run = call_start }, read = { .run = call_read, .disk = other };
	struct file *file = other->chain->layers[1]->file;

	start.disk = open_disk("top", 0, NULL);
	cr_assert_eq(start.disk->chain->layers[1]->file, file);
	gate_shut(GATE_READ, "template", 1);
	begin_call(&start);
	gate_wait();
	begin_call(&read);
	check_read(guest, 0, 0x5a);
	gate_open();
	end_call(&start);
	end_call(&read);
	cr_assert_eq(start.rc, 0);
	cr_assert_eq(bpull_job_wait(start.disk, -1), 0);
	bpull_disk_close(start.disk);
}

/* What else may be asked of a disk that is being started waits for that, and is right then. */
Test(yields, a_disk_that_is_being_started)
{
	struct bpull_disk *disk = open_disk("top", 0, NULL);
	struct call start = { .run = call_start, .disk = disk, .flags = BPULL_JOB_START_PAUSED },
		    again = start, check = { .run = call_check, .disk = disk },
		    map = { .run = call_map, .disk = disk };
	struct bpull_job_info info = { .size = sizeof(info) };

	gate_shut(GATE_READ, "top", 2);
	begin_call(&start);
	gate_wait();
	begin_call(&again);
	begin_call(&check);
	begin_call(&map);
	cr_assert_eq(bpull_job_abort(disk), -ENOENT);
	cr_assert_eq(bpull_job_get_info(disk, &info), 0);
	check_read(guest, 0, 0x5a);
	gate_open();
	end_call(&start);
	end_call(&again);
	end_call(&check);
	end_call(&map);
	cr_assert_eq(start.rc, 0);
	cr_assert_eq(again.rc, -EBUSY);
	cr_assert_eq(check.rc, -EBUSY);
	cr_assert_eq(map.rc, 1);
}

Test(yields, a_map_that_reads_tables)
{
	struct call call = { .run = call_map };

	call.disk = open_disk("top", 0, NULL);
	gate_shut(GATE_READ, "template", 1);
	guest_goes_on(&call);
	cr_assert_eq(call.rc, 1);
}

/* The layers that the job drops are closed when the map has done with them, and not before. */
Test(yields, a_map_of_a_disk_whose_job_ends)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_MANUAL_FINALIZE };
	struct call call = { .run = call_map };
	struct bpull_event event = { 0 };

	call.disk = open_disk("top", 0, NULL);
	cr_assert_eq(bpull_job_start(call.disk, &o, NULL), 0);
	while (event.status != BPULL_JOB_READY)
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, -1), 1);
	engine_enter(engine);
	table_cache_drop_clean(engine->cache, call.disk->chain->layers[1]->file);
	engine_leave(engine);
	gate_shut(GATE_READ, "template", 1);
	begin_call(&call);
	gate_wait();
	cr_assert_eq(bpull_job_finalize(call.disk), 0);
	check_read(guest, 0, 0x5a);
	cr_assert_eq(bpull_disk_depth(call.disk), 3);
	gate_open();
	end_call(&call);
	cr_assert_eq(call.rc, 1);
	cr_assert_eq(bpull_job_wait(call.disk, -1), 0);
	cr_assert_eq(bpull_disk_depth(call.disk), 1);
}

/* No other call comes to the engine: what wakes the job is the end of the map. With threads: a
 * ring's idle workers end after five seconds, and wake the engine's thread by that. */
Test(yields, a_map_that_ends_wakes_the_job_that_waits_for_it)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_MANUAL_FINALIZE };
	struct pollfd ready = { .events = POLLIN };
	struct call call = { .run = call_map };
	struct bpull_event event = { 0 };
	bool waits = false;

	bpull_engine_close(engine);
	open_engine(IO_CHOICE_THREADS);
	ready.fd = bpull_engine_fd(engine);
	call.disk = open_disk("top", 0, NULL);
	cr_assert_eq(bpull_job_start(call.disk, &o, NULL), 0);
	while (event.status != BPULL_JOB_READY)
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, -1), 1);
	engine_enter(engine);
	table_cache_drop_clean(engine->cache, call.disk->chain->layers[1]->file);
	engine_leave(engine);
	gate_shut(GATE_READ, "template", 1);
	begin_call(&call);
	gate_wait();
	cr_assert_eq(bpull_job_finalize(call.disk), 0);
	while (!waits) {
		engine_enter(engine);
		waits = call.disk->guests.dropping;
		engine_leave(engine);
	}
	usleep(50 *
	       1000); /* so that the engine's thread sleeps: a shorter time hides a bug, no more */
	gate_open();
	end_call(&call);
	cr_assert_eq(poll(&ready, 1, 30 * 1000), 1, "the job sleeps on");
	cr_assert_eq(bpull_engine_process(engine, &event, 1), 1);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED);
}

Test(yields, a_close_that_waits_for_a_file)
{
	struct call call = { .run = call_close };

	call.disk = open_disk("top", BPULL_DISK_GUEST_IO, NULL);
	gate_shut(GATE_CLOSE, "template", 1);
	guest_goes_on(&call);
}

/* ---- two at once ---- */

Test(yields, one_image_below_two_that_are_opened_at_once)
{
	struct call call = { .run = call_open, .name = "top", .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *other;

	gate_shut(GATE_READ, "template", 1);
	begin_call(&call);
	gate_wait();
	other = open_disk("top2", BPULL_DISK_GUEST_IO, NULL);
	gate_open();
	end_call(&call);
	cr_assert_eq(call.rc, 0);
	cr_assert_eq(call.disk->chain->layers[1], other->chain->layers[1], "opened twice");
	check_read(call.disk, 9 * PIECE, 9);
	bpull_disk_close(other);
	check_read(call.disk, 11 * PIECE, 11);
}

Test(yields, an_image_that_another_begins_to_read_meanwhile)
{
	struct call call = { .run = call_open, .name = "top", .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *reader;

	gate_shut(GATE_READ, "top", 1);
	begin_call(&call);
	gate_wait();
	reader = open_disk("top", BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE, NULL);
	gate_open();
	end_call(&call);
	cr_assert_eq(call.rc, -EBUSY);
	bpull_disk_close(reader);
	bpull_disk_close(open_disk("top", BPULL_DISK_GUEST_IO, NULL));
}
