/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/blockpull.h, kept to a program that links the shared
 * library and sees nothing else of ours: whole jobs, events, several disks,
 * both ways to run an engine, option structs of other sizes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

static void setup(void)
{
	api_rig_begin(BPULL_IO_AUTO);
}

static void setup_threads(void)
{
	api_rig_begin(BPULL_IO_THREADS);
}

TestSuite(api, .init = setup, .fini = api_rig_end);
TestSuite(api_threads, .init = setup_threads, .fini = api_rig_end);

static void pull_to_the_end(enum bpull_format format)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	struct bpull_event event;

	make_overlay("ov", format, "base.raw");
	disk = api_rig_open("ov", 0);
	cr_assert_eq(bpull_disk_depth(disk), 2);
	cr_assert_eq(bpull_job_get_info(disk, &info), 0);
	cr_assert_eq(info.type, BPULL_JOB_TYPE_UNKNOWN);
	cr_assert_eq(info.end, 1);
	api_rig_start(disk, 0, 0);
	event = api_rig_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	cr_assert_eq(info.type, BPULL_JOB_TYPE_PULL);
	cr_assert_eq(info.state, BPULL_JOB_CONCLUDED);
	cr_assert_eq(info.cur, API_RIG_BASE_LEN);
	cr_assert_eq(info.end, API_RIG_BASE_LEN);
	cr_assert_eq(info.copied_bytes, api_rig_data_len());
	cr_assert_eq(info.skipped_bytes, API_RIG_BASE_LEN - api_rig_data_len());
	cr_assert_eq(info.present_bytes + info.zero_bytes + info.cloned_bytes, 0);
	cr_assert_geq(info.n_commits, 1);
	bpull_disk_close(disk);
	api_rig_expect_base("ov");
}

Test(api, a_qcow2_pull_completes)
{
	pull_to_the_end(BPULL_FORMAT_QCOW2);
}

Test(api, a_qed_pull_completes)
{
	pull_to_the_end(BPULL_FORMAT_QED);
}

Test(api_threads, a_pull_completes)
{
	cr_assert_str_eq(bpull_engine_io_name(engine), "threads");
	pull_to_the_end(BPULL_FORMAT_QCOW2);
}

Test(api, a_program_may_poll_the_descriptor)
{
	struct bpull_disk *disk;
	struct bpull_event event;
	int n = 0;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 64 * MiB, 0);
	for (int i = 0; i < 100000 && !n; i++) {
		struct pollfd fd = { .fd = bpull_engine_fd(engine), .events = POLLIN };

		cr_assert_eq(poll(&fd, 1, 10000), 1, "the job stands still");
		n = bpull_engine_process(engine, &event, 1);
	}
	cr_assert_eq(n, 1);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED);
	/* Nothing is left to do: the descriptor falls silent. */
	for (int i = 0; i < 10; i++)
		bpull_engine_process(engine, &event, 1);
	cr_assert_eq(
		poll(&(struct pollfd){ .fd = bpull_engine_fd(engine), .events = POLLIN }, 1, 50), 0,
		"a descriptor that never rests");
}

/* Closing runs the engine, too, while the other disk's requests are in flight. */
Test(api, the_descriptor_tells_of_one_disk_when_another_is_closed)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = MiB };
	struct bpull_disk_options guest = { .size = sizeof(guest), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *disk, *other;
	struct bpull_event event;
	int n = 0;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_create(scratch("other"), &o, NULL), 0);
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 0, 0);
	while (!n) {
		struct pollfd fd = { .fd = bpull_engine_fd(engine), .events = POLLIN };

		cr_assert_eq(bpull_disk_open(engine, scratch("other"), &guest, &other, NULL), 0);
		bpull_write(other, &(struct iovec){ (char *)"written", 7 }, 1, 0, 0, NULL);
		n = bpull_engine_process(engine, &event, 1);
		bpull_disk_close(other);
		if (n && event.type == BPULL_EVENT_IO)
			n = 0;
		if (!n)
			cr_assert_eq(poll(&fd, 1, 10000), 1,
				     "the descriptor does not tell of what was in flight");
	}
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
}

Test(api, without_backing_it_is_complete_at_once)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = MiB };
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_create(scratch("alone"), &o, NULL), 0);
	disk = api_rig_open("alone", 0);
	api_rig_start(disk, 0, 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	info = api_rig_info(disk);
	cr_assert_eq(info.cur, info.end);
	cr_assert_geq(info.end, 1);
}

Test(api, one_job_a_disk)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, MiB, 0);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), -EBUSY);
	cr_assert_eq(error.code, -EBUSY);
	cr_assert_neq(error.message[0], '\0');
}

/* Asking whether another job would be refused, and a start that is, leave the one that runs as it
 * is. */
Test(api, a_question_changes_no_job)
{
	struct bpull_create_options top = { .size = sizeof(top),
					    .format = BPULL_FORMAT_QCOW2,
					    .backing_name = "mid",
					    .backing_format = BPULL_FORMAT_QCOW2 };
	struct bpull_job_options other = { .size = sizeof(other), .base = "mid" };
	struct bpull_disk *disk;
	struct bpull_event event;

	make_overlay("mid", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_create(scratch("ov"), &top, &error), 0, "%s", error.message);
	disk = api_rig_open("ov", 0);
	cr_assert_eq(bpull_job_check(disk, &other, &error), 0, "%s", error.message);
	api_rig_start(disk, 0, BPULL_JOB_START_PAUSED);
	cr_assert_eq(bpull_job_check(disk, &other, &error), -EBUSY);
	cr_assert_eq(bpull_job_start(disk, &other, &error), -EBUSY);
	other.base = "no such file";
	cr_assert_eq(bpull_job_check(disk, &other, &error), -EBUSY);
	bpull_job_resume(disk);
	event = api_rig_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	bpull_disk_close(disk);
	api_rig_expect_base("ov");
}

Test(api, disks_share_an_engine_and_a_base)
{
	struct bpull_disk *disks[3];
	struct bpull_event event;

	for (int i = 0; i < 3; i++) {
		char name[] = "ov0";

		name[2] += i;
		make_overlay(name, i == 1 ? BPULL_FORMAT_QED : BPULL_FORMAT_QCOW2, "base.raw");
		disks[i] = api_rig_open(name, 0);
		api_rig_start(disks[i], 0, 0);
	}
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
		cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	}
	for (int i = 0; i < 3; i++)
		bpull_disk_close(disks[i]);
	api_rig_expect_base("ov0");
	api_rig_expect_base("ov1");
	api_rig_expect_base("ov2");
}

Test(api, an_image_is_not_opened_twice_for_writing)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	api_rig_open("ov", 0);
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), NULL, &disk, &error), -EBUSY);
	cr_assert_not_null(strstr(error.message, "ov"));
}

Test(api, read_only_refuses_a_job)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_READ_ONLY };
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), &o, &disk, NULL), 0);
	cr_assert_eq(bpull_job_start(disk, NULL, NULL), -EROFS);
}

Test(api, options_of_other_sizes_and_unknown_flags)
{
	struct {
		struct bpull_disk_options known;
		uint64_t future;
	} o = { .known = { .size = sizeof(o), .flags = BPULL_DISK_READ_ONLY } };
	struct bpull_disk *disk;
	size_t tiny[2] = { sizeof(tiny), BPULL_DISK_READ_ONLY };

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), &o.known, &disk, NULL), 0);
	bpull_disk_close(disk);
	o.future = 1;
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), &o.known, &disk, NULL), -EINVAL);
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), (const struct bpull_disk_options *)tiny,
				     &disk, NULL),
		     0, "an older program's shorter struct");
	bpull_disk_close(disk);
	o.future = 0;
	o.known.flags = 1u << 31;
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), &o.known, &disk, NULL), -EINVAL);
	o.known.flags = BPULL_DISK_FORCE_SHARE;
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), &o.known, &disk, NULL), -EINVAL,
		     "writing without locks");
}

Test(api, an_engine_refuses_what_it_does_not_know)
{
	struct bpull_engine_options o = { .size = sizeof(o), .io = 77 };
	struct bpull_engine *other;

	cr_assert_eq(bpull_engine_open(&o, &other, NULL), -EINVAL);
	o.io = 0;
	o.memory = 4096;
	cr_assert_eq(bpull_engine_open(&o, &other, NULL), -EINVAL);
	bpull_engine_close(NULL);
	bpull_disk_close(NULL);
	bpull_info_close(NULL);
}

Test(api, create_never_overwrites)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = MiB };

	cr_assert_eq(bpull_create(scratch("base.raw"), &o, NULL), -EEXIST);
	o.virtual_size = 0;
	cr_assert_eq(bpull_create(scratch("new"), &o, NULL), -EINVAL);
	cr_assert_neq(access(scratch("new"), F_OK), 0, "a failed create left its file");
}
