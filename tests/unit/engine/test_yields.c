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
#include <stdio.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "formats/core/table_cache.h"
#include "io/backends/backend.h"
#include "io/base.h"
#include "io/io.h"
#include "tests/support/files/scratch.h"
#include "tests/support/gate.h"
#include "tests/support/time_limit.h"
#include "tests/unit/engine/yields_rig.h"

TIME_LIMIT(60);
TestSuite(yields, .init = yields_begin, .fini = yields_end, .timeout = TIME_LIMIT_CLOCK(60));

/* ---- what is held up, in a thread of its own ---- */

Test(yields, an_open_that_waits_for_a_file_holds_no_guest_up)
{
	struct call call = { .run = yields_call_open, .name = "top" };

	gate_shut(GATE_OPEN, "template", 1);
	yields_guest_goes_on(&call);
	cr_assert_eq(call.rc, 0);
	cr_assert_eq(bpull_disk_depth(call.disk), 3);
}

Test(yields, an_open_that_reads_a_header_holds_no_guest_up)
{
	struct call call = { .run = yields_call_open, .name = "top" };

	gate_shut(GATE_READ, "template", 1);
	yields_guest_goes_on(&call);
	cr_assert_eq(call.rc, 0);
}

/* Every read of an audit, one after the other. */
Test(yields, an_open_that_audits_holds_no_guest_up)
{
	for (unsigned n = 1; n <= 12; n++) {
		struct call call = { .run = yields_call_open,
				     .name = "top",
				     .flags = BPULL_DISK_GUEST_IO };

		gate_shut(GATE_READ, "top", n);
		yields_guest_goes_on(&call);
		cr_assert_eq(call.rc, 0);
		yields_check_read(call.disk, 3 * PIECE, 3);
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

Test(yields, an_open_that_waits_for_a_lock_holds_no_guest_up)
{
	struct call call = { .run = yields_call_open, .name = "top" };
	int fd = lock_as_writer("top");

	gate_shut(GATE_LOCK_WAIT, "top", 1);
	yields_begin_call(&call);
	gate_wait();
	yields_check_read(yields_guest, 0, 0x5a);
	close(fd);
	gate_open();
	yields_end_call(&call);
	cr_assert_eq(call.rc, 0);
}

Test(yields, an_open_that_is_refused_holds_no_guest_up)
{
	struct call call = { .run = yields_call_open, .name = "top" };
	int fd = lock_as_writer("top");

	gate_shut(GATE_LOCK_WAIT, "top", 1);
	yields_guest_goes_on(&call);
	cr_assert_eq(call.rc, -EBUSY);
	close(fd);
}

/* Each read of a start, of the image itself and of what it reads through to. */
Test(yields, a_start_that_reads_tables_holds_no_guest_up)
{
	static const struct {
		const char *name;
		unsigned n;
	} reads[] = { { "top", 1 }, { "top", 2 },      { "top", 3 },     { "top", 4 },
		      { "top", 5 }, { "template", 1 }, { "template", 2 } };

	for (unsigned i = 0; i < ARRAY_LEN(reads); i++) {
		struct call call = { .run = yields_call_start, .flags = BPULL_JOB_START_PAUSED };

		call.disk = yields_open_disk("top", 0, NULL);
		gate_shut(GATE_READ, reads[i].name, reads[i].n);
		yields_guest_goes_on(&call);
		cr_assert_eq(call.rc, 0);
		bpull_disk_close(call.disk);
	}
}

/* The start loads a table of a shared image by itself, and another disk's guest wants that very
 * table. */
Test(yields, a_table_that_a_start_is_reading_can_be_wanted_by_a_guest)
{
	struct bpull_disk *other = yields_open_disk("top2", BPULL_DISK_GUEST_IO, NULL);
	struct call start = { .run = yields_call_start },
		    read = { .run = yields_call_read, .disk = other };
	struct file *file = other->chain->layers[1]->file;

	start.disk = yields_open_disk("top", 0, NULL);
	cr_assert_eq(start.disk->chain->layers[1]->file, file);
	gate_shut(GATE_READ, "template", 1);
	yields_begin_call(&start);
	gate_wait();
	yields_begin_call(&read);
	yields_check_read(yields_guest, 0, 0x5a);
	gate_open();
	yields_end_call(&start);
	yields_end_call(&read);
	cr_assert_eq(start.rc, 0);
	cr_assert_eq(bpull_job_wait(start.disk, -1), 0);
	bpull_disk_close(start.disk);
}

/* What else may be asked of a disk that is being started waits for that, and is right then. */
Test(yields, calls_of_a_disk_wait_until_it_is_started)
{
	struct bpull_disk *disk = yields_open_disk("top", 0, NULL);
	struct call start = { .run = yields_call_start,
			      .disk = disk,
			      .flags = BPULL_JOB_START_PAUSED },
		    again = start, check = { .run = yields_call_check, .disk = disk },
		    map = { .run = yields_call_map, .disk = disk };
	struct bpull_job_info info = { .size = sizeof(info) };

	gate_shut(GATE_READ, "top", 2);
	yields_begin_call(&start);
	gate_wait();
	yields_begin_call(&again);
	yields_begin_call(&check);
	yields_begin_call(&map);
	cr_assert_eq(bpull_job_abort(disk), -ENOENT);
	cr_assert_eq(bpull_job_get_info(disk, &info), 0);
	yields_check_read(yields_guest, 0, 0x5a);
	gate_open();
	yields_end_call(&start);
	yields_end_call(&again);
	yields_end_call(&check);
	yields_end_call(&map);
	cr_assert_eq(start.rc, 0);
	cr_assert_eq(again.rc, -EBUSY);
	cr_assert_eq(check.rc, -EBUSY);
	cr_assert_eq(map.rc, 1);
}

Test(yields, a_map_that_reads_tables_holds_no_guest_up)
{
	struct call call = { .run = yields_call_map };

	call.disk = yields_open_disk("top", 0, NULL);
	gate_shut(GATE_READ, "template", 1);
	yields_guest_goes_on(&call);
	cr_assert_eq(call.rc, 1);
}

/* A map that is held up inside, of a disk whose job is told meanwhile to end. */
static void map_as_the_job_ends(struct call *call)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_MANUAL_FINALIZE };
	struct bpull_event event = { 0 };

	call->disk = yields_open_disk("top", 0, NULL);
	cr_assert_eq(bpull_job_start(call->disk, &o, NULL), 0);
	while (event.status != BPULL_JOB_READY)
		cr_assert_eq(bpull_engine_wait(yields_engine, &event, 1, -1), 1);
	engine_enter(yields_engine);
	table_cache_drop_clean(yields_engine->cache, call->disk->chain->layers[1]->file);
	engine_leave(yields_engine);
	gate_shut(GATE_READ, "template", 1);
	yields_begin_call(call);
	gate_wait();
	cr_assert_eq(bpull_job_finalize(call->disk), 0);
}

/* The layers that the job drops are closed when the map has done with them, and not before. */
Test(yields, a_map_keeps_layers_until_it_has_done_with_them)
{
	struct call call = { .run = yields_call_map };

	map_as_the_job_ends(&call);
	yields_check_read(yields_guest, 0, 0x5a);
	cr_assert_eq(bpull_disk_depth(call.disk), 3);
	gate_open();
	yields_end_call(&call);
	cr_assert_eq(call.rc, 1);
	cr_assert_eq(bpull_job_wait(call.disk, -1), 0);
	cr_assert_eq(bpull_disk_depth(call.disk), 1);
}

/* No other call comes to the engine: what wakes the job is the end of the map. With threads: a
 * ring's idle workers end after five seconds, and wake the engine's thread by that. */
Test(yields, a_map_that_ends_wakes_the_job_that_waits_for_it)
{
	struct pollfd ready = { .events = POLLIN };
	struct call call = { .run = yields_call_map };
	struct bpull_event event;
	bool waits = false;

	bpull_engine_close(yields_engine);
	yields_open_engine(IO_CHOICE_THREADS);
	ready.fd = bpull_engine_fd(yields_engine);
	map_as_the_job_ends(&call);
	while (!waits) {
		engine_enter(yields_engine);
		waits = call.disk->guests.dropping;
		engine_leave(yields_engine);
	}
	/* So that the engine's thread sleeps: a shorter time hides a bug, no more. */
	usleep(50 * 1000);
	gate_open();
	yields_end_call(&call);
	cr_assert_eq(poll(&ready, 1, 30 * 1000), 1, "the job sleeps on");
	cr_assert_eq(bpull_engine_process(yields_engine, &event, 1), 1);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED);
}

Test(yields, a_close_that_waits_for_a_file_holds_no_guest_up)
{
	struct call call = { .run = yields_call_close };

	call.disk = yields_open_disk("top", BPULL_DISK_GUEST_IO, NULL);
	gate_shut(GATE_CLOSE, "template", 1);
	yields_guest_goes_on(&call);
}

/* ---- two at once ---- */

Test(yields, two_that_are_opened_at_once_share_what_is_below)
{
	struct call call = { .run = yields_call_open, .name = "top", .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *other;

	gate_shut(GATE_READ, "template", 1);
	yields_begin_call(&call);
	gate_wait();
	other = yields_open_disk("top2", BPULL_DISK_GUEST_IO, NULL);
	gate_open();
	yields_end_call(&call);
	cr_assert_eq(call.rc, 0);
	cr_assert_eq(call.disk->chain->layers[1], other->chain->layers[1], "opened twice");
	yields_check_read(call.disk, 9 * PIECE, 9);
	bpull_disk_close(other);
	yields_check_read(call.disk, 11 * PIECE, 11);
}

Test(yields, an_open_is_refused_where_another_began_to_read_meanwhile)
{
	struct call call = { .run = yields_call_open, .name = "top", .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *reader;

	gate_shut(GATE_READ, "top", 1);
	yields_begin_call(&call);
	gate_wait();
	reader = yields_open_disk("top", BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE, NULL);
	gate_open();
	yields_end_call(&call);
	cr_assert_eq(call.rc, -EBUSY);
	bpull_disk_close(reader);
	bpull_disk_close(yields_open_disk("top", BPULL_DISK_GUEST_IO, NULL));
}
