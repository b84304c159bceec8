/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Control of jobs, promised by engine/blockpull.h: pause, abort, finalize and speed,
 * from the program's thread and from another.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"

Test(api, pause_holds_and_resume_goes_on)
{
	struct bpull_disk *disk;
	uint64_t copied;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 32 * MiB, 0);
	api_rig_no_event(200);
	cr_assert_eq(bpull_job_pause(disk), 0);
	cr_assert_eq(bpull_job_pause(disk), 0);
	api_rig_no_event(300);
	cr_assert_eq(api_rig_info(disk).state, BPULL_JOB_PAUSED);
	copied = api_rig_info(disk).copied_bytes;
	cr_assert_gt(copied, 0);
	api_rig_no_event(200);
	cr_assert_eq(api_rig_info(disk).copied_bytes, copied, "it copied while paused");
	cr_assert_eq(bpull_job_set_speed(disk, 0, 0), 0);
	api_rig_no_event(100);
	cr_assert_eq(bpull_job_resume(disk), 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_job_pause(disk), -ENOENT);
}

Test(api, a_paused_slow_job_commits_and_leaves_the_engine_to_others)
{
	struct bpull_disk *slow, *other;
	struct bpull_job_info info = { .size = sizeof(info) };

	make_overlay("slow", BPULL_FORMAT_QCOW2, "base.raw");
	make_overlay("other", BPULL_FORMAT_QCOW2, "base.raw");
	slow = api_rig_open("slow", 0);
	other = api_rig_open("other", 0);
	api_rig_start(slow, 4 * MiB, 0);
	api_rig_no_event(700);
	bpull_job_pause(slow);
	api_rig_no_event(300); /* far less than the two seconds of a group commit */
	info = api_rig_info(slow);
	cr_assert_gt(info.copied_bytes, 0);
	cr_assert_geq(info.n_commits, 1, "a pause commits what was copied");
	api_rig_start(other, 0, 0);
	cr_assert_eq(api_rig_event(other).status, BPULL_JOB_COMPLETED);
	bpull_disk_close(slow);
}

Test(api, it_may_start_paused)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 0, BPULL_JOB_START_PAUSED);
	api_rig_no_event(200);
	cr_assert_eq(api_rig_info(disk).copied_bytes, 0);
	bpull_job_resume(disk);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
}

/* The engine has nothing to do meanwhile, and no call runs it. */
Test(api, the_time_of_a_paused_job_goes_on)
{
	struct bpull_job_rates rates = { .size = sizeof(rates),
					 .which = BPULL_JOB_RATE_WITHIN,
					 .within_ns = 50000000 };
	struct bpull_disk *disk;
	struct bpull_job_info info;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 0, BPULL_JOB_START_PAUSED);
	cr_assert_eq(bpull_job_set_rates(disk, &rates), 0);
	api_rig_no_event(20);
	cr_expect_eq(api_rig_info(disk).within_ns, 50000000);
	usleep(100000);
	info = api_rig_info(disk);
	cr_expect_geq(info.elapsed_ns, 100000000);
	cr_expect(info.is_late, "its deadline is over");
	cr_expect_eq(info.needed_rate, 0);
	bpull_job_resume(disk);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	cr_expect_geq(api_rig_info(disk).elapsed_ns, info.elapsed_ns);
	info = api_rig_info(disk);
	usleep(1000);
	cr_expect_eq(api_rig_info(disk).elapsed_ns, info.elapsed_ns, "it is over");
}

Test(api, abort_keeps_what_was_copied_and_the_next_pull_skips_it)
{
	struct bpull_job_info first = { .size = sizeof(first) }, second = first;
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QED, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 32 * MiB, 0);
	api_rig_no_event(250);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_CANCELED);
	cr_assert_eq(bpull_job_abort(disk), -ENOENT);
	first = api_rig_info(disk);
	cr_assert_gt(first.copied_bytes, 0);
	cr_assert_lt(first.cur, first.end);
	bpull_disk_close(disk);

	disk = api_rig_open("ov", 0);
	cr_assert_eq(bpull_disk_depth(disk), 2, "the link is gone");
	api_rig_start(disk, 0, 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	second = api_rig_info(disk);
	cr_assert_eq(second.present_bytes, first.copied_bytes);
	cr_assert_eq(second.copied_bytes + first.copied_bytes, api_rig_data_len());
	bpull_disk_close(disk);
	api_rig_expect_base("ov");
}

Test(api, the_same_disk_can_be_pulled_on_after_an_abort)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 16 * MiB, 0);
	api_rig_no_event(150);
	bpull_job_abort(disk);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_CANCELED);
	api_rig_start(disk, 0, 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
	api_rig_expect_base("ov");
}

Test(api, manual_finalize_waits_with_the_link)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 0, BPULL_JOB_MANUAL_FINALIZE);
	cr_assert_eq(bpull_job_finalize(disk), -EAGAIN);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_READY);
	cr_assert_eq(api_rig_info(disk).state, BPULL_JOB_WAITING);
	api_rig_no_event(50);
	cr_assert_eq(bpull_job_finalize(disk), 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_job_finalize(disk), -ENOENT);
}

Test(api, abort_at_ready_keeps_the_link)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 0, BPULL_JOB_MANUAL_FINALIZE);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_READY);
	bpull_job_abort(disk);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_CANCELED);
	bpull_disk_close(disk);
	disk = api_rig_open("ov", 0);
	cr_assert_eq(bpull_disk_depth(disk), 2);
}

static void *raise_speed(void *disk)
{
	usleep(150000);
	cr_assert_eq(bpull_job_set_speed(disk, 0, 0), 0);
	return NULL;
}

Test(api, another_thread_raises_the_speed_at_once)
{
	struct bpull_disk *disk;
	pthread_t thread;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 1000, 0); /* hours */
	pthread_create(&thread, NULL, raise_speed, disk);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	pthread_join(thread, NULL);
}

/* A tenth of a second's bytes go at a time: at 128 KiB/s a fifth of a cluster. */
Test(api, a_slow_pull_goes_on_within_clusters)
{
	struct bpull_disk *disk;
	uint64_t before = 0;
	unsigned n_within = 0;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, MiB / 8, 0);
	while (before < 196608) {
		struct bpull_event event;
		uint64_t now;

		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 1), 0);
		now = api_rig_info(disk).copied_bytes;
		n_within += now != before && now % (65536);
		before = now;
	}
	cr_assert_geq(n_within, 8);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_CANCELED);
	cr_assert_eq(api_rig_info(disk).copied_bytes % (65536), 0,
		     "what is half copied is not kept");
	bpull_disk_close(disk);
}

Test(api, closing_a_disk_aborts_its_job_and_keeps_the_image)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 32 * MiB, 0);
	api_rig_no_event(200);
	bpull_disk_close(disk);
	api_rig_no_event(0);
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 0, 0);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	cr_assert_gt(api_rig_info(disk).present_bytes, 0);
	bpull_disk_close(disk);
	api_rig_expect_base("ov");
}

/* 18 MiB each at 36 MiB/s, judged when about two thirds of it all are copied: 12 MiB each, give or
 * take what is in flight. The engine's own timer alone wakes it, as that could keep step with which
 * disk is looked at first. */
Test(api, jobs_share_the_engines_rate_fairly)
{
	static const char *const names[] = { "a.qcow2", "b.qcow2", "c.qcow2" };
	struct bpull_disk *disks[3];
	struct bpull_job_info info[3];
	struct bpull_event event;
	uint64_t total = 0;

	bpull_engine_set_speed(engine, 36 * MiB, 0);
	for (int i = 0; i < 3; i++) {
		make_overlay(names[i], BPULL_FORMAT_QCOW2, "base.raw");
		disks[i] = api_rig_open(names[i], 0);
		api_rig_start(disks[i], 0, 0);
	}
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 1000), 0, "one is done already");
	for (int i = 0; i < 3; i++) {
		info[i].size = sizeof(info[i]);
		bpull_job_get_info(disks[i], &info[i]);
		total += info[i].copied_bytes;
	}
	for (int i = 0; i < 3; i++)
		cr_assert(info[i].copied_bytes >= total / 3 - 3 * MiB &&
				  info[i].copied_bytes <= total / 3 + 3 * MiB,
			  "job %d: %u of %u KiB", i, (unsigned)(info[i].copied_bytes / 1024),
			  (unsigned)(total / 1024));
	for (int i = 0; i < 3; i++)
		bpull_disk_close(disks[i]);
}

Test(api, an_end_event_outlives_the_next_start)
{
	struct bpull_disk *disk;
	struct bpull_event first, second;

	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	disk = api_rig_open("top.qcow2", 0);
	api_rig_start(disk, 0, BPULL_JOB_START_PAUSED);
	cr_assert_eq(bpull_job_abort(disk), 0);
	while (api_rig_info(disk).state != BPULL_JOB_CONCLUDED)
		cr_assert_eq(bpull_engine_wait(engine, &first, 0, 100), 0);
	api_rig_start(disk, 0, 0);
	first = api_rig_event(disk);
	cr_assert_eq(first.status, BPULL_JOB_CANCELED, "the first job's end was dropped");
	second = api_rig_event(disk);
	cr_assert_eq(second.status, BPULL_JOB_COMPLETED);
	cr_assert_neq(first.message, second.message, "one event's text became the other's");
	bpull_disk_close(disk);
}
