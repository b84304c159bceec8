/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/blockpull.h, kept to a program that links the shared
 * library and sees nothing else of ours: jobs, events, control from other
 * threads, both ways to run an engine, option structs of other sizes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/overlay.h"
#include "tests/support/scratch.h"

#define MiB      (1u << 20)
#define BASE_LEN (24u * MiB)

static struct bpull_engine *engine;

/* A base whose every 4 KiB block says where it is; every fourth MiB is a hole. */
static void make_base(const char *name)
{
	static uint8_t block[MiB];
	int fd = open(scratch(name), O_CREAT | O_RDWR | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, BASE_LEN), 0);
	for (uint64_t off = 0; off < BASE_LEN; off += MiB) {
		if (off / MiB % 4 == 3)
			continue;
		for (uint64_t i = 0; i < MiB; i += 8) {
			uint64_t word = (off + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;

			memcpy(block + i, &word, 8);
		}
		cr_assert_eq(pwrite(fd, block, MiB, off), MiB);
	}
	close(fd);
}

static uint64_t data_len(void)
{
	return BASE_LEN / 4 * 3;
}

/* Guest content through the public map and plain reads; standing alone only. */
static uint8_t *read_disk(const char *name)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_READ_ONLY };
	uint8_t *out = calloc(1, BASE_LEN);
	int fd = open(scratch(name), O_RDONLY);
	struct bpull_extent extents[8];
	struct bpull_error error;
	struct bpull_disk *disk;
	uint64_t at = 0;
	int n;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	cr_assert_eq(bpull_disk_size(disk), BASE_LEN);
	while ((n = bpull_disk_map(disk, at, extents, 8, &error)) > 0)
		for (int i = 0; i < n; i++) {
			cr_assert_eq(extents[i].start, at);
			at += extents[i].length;
			if (extents[i].data)
				cr_assert_eq(pread(fd, out + extents[i].start, extents[i].length,
						   extents[i].offset),
					     (ssize_t)extents[i].length);
		}
	cr_assert_eq(n, 0);
	cr_assert_eq(at, BASE_LEN);
	bpull_disk_close(disk);
	close(fd);
	return out;
}

static void expect_base_content(const char *name)
{
	uint8_t *want = calloc(1, BASE_LEN), *got = read_disk(name);
	int fd = open(scratch("base.raw"), O_RDONLY);

	cr_assert_eq(pread(fd, want, BASE_LEN, 0), (ssize_t)BASE_LEN);
	cr_assert_eq(memcmp(want, got, BASE_LEN), 0, "the content changed");
	close(fd);
	free(want);
	free(got);
}

static struct bpull_disk *open_disk(const char *name)
{
	struct bpull_disk_options o = { .size = sizeof(o), .user_data = &engine };
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	return disk;
}

static void start(struct bpull_disk *disk, uint64_t bandwidth, uint32_t flags)
{
	struct bpull_job_options o = { .size = sizeof(o), .bandwidth = bandwidth, .flags = flags };
	struct bpull_error error = { 0 };

	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
}

static struct bpull_job_info info_of(struct bpull_disk *disk)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(disk, &info);
	return info;
}

/* The next event, which must be this disk's. */
static struct bpull_event next_event(struct bpull_disk *disk)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1, "no event in 30 s");
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.disk, disk);
	cr_assert_eq(event.user_data, &engine);
	return event;
}

static void expect_no_event(int ms)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, ms), 0);
}

static void setup_io(enum bpull_io io)
{
	struct bpull_engine_options o = { .size = sizeof(o), .io = io };
	struct bpull_error error = { 0 };

	scratch_make();
	make_base("base.raw");
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

static void setup(void)
{
	setup_io(BPULL_IO_AUTO);
}

static void setup_threads(void)
{
	setup_io(BPULL_IO_THREADS);
}

static void teardown(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TestSuite(api, .init = setup, .fini = teardown);
TestSuite(api_threads, .init = setup_threads, .fini = teardown);

static void pull_to_the_end(enum bpull_format format)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	struct bpull_event event;

	make_overlay("ov", format, "base.raw");
	disk = open_disk("ov");
	cr_assert_eq(bpull_disk_depth(disk), 2);
	cr_assert_eq(bpull_job_get_info(disk, &info), 0);
	cr_assert_eq(info.type, BPULL_JOB_TYPE_UNKNOWN);
	cr_assert_eq(info.end, 1);
	start(disk, 0, 0);
	event = next_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	cr_assert_eq(info.type, BPULL_JOB_TYPE_PULL);
	cr_assert_eq(info.state, BPULL_JOB_CONCLUDED);
	cr_assert_eq(info.cur, BASE_LEN);
	cr_assert_eq(info.end, BASE_LEN);
	cr_assert_eq(info.copied_bytes, data_len());
	cr_assert_eq(info.skipped_bytes, BASE_LEN - data_len());
	cr_assert_eq(info.present_bytes + info.zero_bytes + info.cloned_bytes, 0);
	cr_assert_geq(info.n_commits, 1);
	bpull_disk_close(disk);
	expect_base_content("ov");
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
	disk = open_disk("ov");
	start(disk, 64 * MiB, 0);
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
	disk = open_disk("ov");
	start(disk, 0, 0);
	while (!n) {
		struct pollfd fd = { .fd = bpull_engine_fd(engine), .events = POLLIN };

		cr_assert_eq(bpull_disk_open(engine, scratch("other"), &guest, &other, NULL), 0);
		bpull_write(other, &(struct iovec){ (char *)"written", 7 }, 1, 0, 0, NULL);
		n = bpull_engine_process(engine, &event, 1);
		bpull_disk_close(other);
		if (n && event.type == BPULL_EVENT_IO)
			n = 0;
		if (!n)
			cr_assert_eq(poll(&fd, 1, 10000), 1, "nobody tells of what was in flight");
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
	disk = open_disk("alone");
	start(disk, 0, 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	info = info_of(disk);
	cr_assert_eq(info.cur, info.end);
	cr_assert_geq(info.end, 1);
}

Test(api, one_job_a_disk)
{
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, MiB, 0);
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
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;
	struct bpull_event event;

	make_overlay("mid", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_create(scratch("ov"), &top, &error), 0, "%s", error.message);
	disk = open_disk("ov");
	cr_assert_eq(bpull_job_check(disk, &other, &error), 0, "%s", error.message);
	start(disk, 0, BPULL_JOB_START_PAUSED);
	cr_assert_eq(bpull_job_check(disk, &other, &error), -EBUSY);
	cr_assert_eq(bpull_job_start(disk, &other, &error), -EBUSY);
	other.base = "no such file";
	cr_assert_eq(bpull_job_check(disk, &other, &error), -EBUSY);
	bpull_job_resume(disk);
	event = next_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	bpull_disk_close(disk);
	expect_base_content("ov");
}

Test(api, pause_holds_and_resume_goes_on)
{
	struct bpull_disk *disk;
	uint64_t copied;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, 32 * MiB, 0);
	expect_no_event(200);
	cr_assert_eq(bpull_job_pause(disk), 0);
	cr_assert_eq(bpull_job_pause(disk), 0);
	expect_no_event(300);
	cr_assert_eq(info_of(disk).state, BPULL_JOB_PAUSED);
	copied = info_of(disk).copied_bytes;
	cr_assert_gt(copied, 0);
	expect_no_event(200);
	cr_assert_eq(info_of(disk).copied_bytes, copied, "it copied while paused");
	cr_assert_eq(bpull_job_set_speed(disk, 0, 0), 0);
	expect_no_event(100);
	cr_assert_eq(bpull_job_resume(disk), 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_job_pause(disk), -ENOENT);
}

Test(api, a_paused_slow_job_commits_and_leaves_the_engine_to_others)
{
	struct bpull_disk *slow, *other;
	struct bpull_job_info info = { .size = sizeof(info) };

	make_overlay("slow", BPULL_FORMAT_QCOW2, "base.raw");
	make_overlay("other", BPULL_FORMAT_QCOW2, "base.raw");
	slow = open_disk("slow");
	other = open_disk("other");
	start(slow, 4 * MiB, 0);
	expect_no_event(700);
	bpull_job_pause(slow);
	expect_no_event(300); /* far less than the two seconds of a group commit */
	info = info_of(slow);
	cr_assert_gt(info.copied_bytes, 0);
	cr_assert_geq(info.n_commits, 1, "a pause commits what was copied");
	start(other, 0, 0);
	cr_assert_eq(next_event(other).status, BPULL_JOB_COMPLETED);
	bpull_disk_close(slow);
}

Test(api, it_may_start_paused)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, 0, BPULL_JOB_START_PAUSED);
	expect_no_event(200);
	cr_assert_eq(info_of(disk).copied_bytes, 0);
	bpull_job_resume(disk);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
}

Test(api, abort_keeps_what_was_copied_and_the_next_pull_skips_it)
{
	struct bpull_job_info first = { .size = sizeof(first) }, second = first;
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QED, "base.raw");
	disk = open_disk("ov");
	start(disk, 32 * MiB, 0);
	expect_no_event(250);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_CANCELED);
	cr_assert_eq(bpull_job_abort(disk), -ENOENT);
	first = info_of(disk);
	cr_assert_gt(first.copied_bytes, 0);
	cr_assert_lt(first.cur, first.end);
	bpull_disk_close(disk);

	disk = open_disk("ov");
	cr_assert_eq(bpull_disk_depth(disk), 2, "the link is gone");
	start(disk, 0, 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	second = info_of(disk);
	cr_assert_eq(second.present_bytes, first.copied_bytes);
	cr_assert_eq(second.copied_bytes + first.copied_bytes, data_len());
	bpull_disk_close(disk);
	expect_base_content("ov");
}

Test(api, the_same_disk_can_be_pulled_on_after_an_abort)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, 16 * MiB, 0);
	expect_no_event(150);
	bpull_job_abort(disk);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_CANCELED);
	start(disk, 0, 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
	expect_base_content("ov");
}

Test(api, manual_finalize_waits_with_the_link)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, 0, BPULL_JOB_MANUAL_FINALIZE);
	cr_assert_eq(bpull_job_finalize(disk), -EAGAIN);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_READY);
	cr_assert_eq(info_of(disk).state, BPULL_JOB_WAITING);
	expect_no_event(50);
	cr_assert_eq(bpull_job_finalize(disk), 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_job_finalize(disk), -ENOENT);
}

Test(api, abort_at_ready_keeps_the_link)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, 0, BPULL_JOB_MANUAL_FINALIZE);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_READY);
	bpull_job_abort(disk);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_CANCELED);
	bpull_disk_close(disk);
	disk = open_disk("ov");
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
	disk = open_disk("ov");
	start(disk, 1000, 0); /* hours */
	pthread_create(&thread, NULL, raise_speed, disk);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	pthread_join(thread, NULL);
}

/* A tenth of a second's bytes go at a time: at 128 KiB/s a fifth of a cluster. */
Test(api, a_slow_pull_goes_on_within_clusters)
{
	struct bpull_disk *disk;
	uint64_t before = 0;
	unsigned n_within = 0;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, MiB / 8, 0);
	while (before < 196608) {
		struct bpull_event event;
		uint64_t now;

		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 1), 0);
		now = info_of(disk).copied_bytes;
		n_within += now != before && now % (65536);
		before = now;
	}
	cr_assert_geq(n_within, 8);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_CANCELED);
	cr_assert_eq(info_of(disk).copied_bytes % (65536), 0, "what is half copied is not kept");
	bpull_disk_close(disk);
}

Test(api, closing_a_disk_aborts_its_job_and_keeps_the_image)
{
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, 32 * MiB, 0);
	expect_no_event(200);
	bpull_disk_close(disk);
	expect_no_event(0);
	disk = open_disk("ov");
	start(disk, 0, 0);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	cr_assert_gt(info_of(disk).present_bytes, 0);
	bpull_disk_close(disk);
	expect_base_content("ov");
}

Test(api, disks_share_an_engine_and_a_base)
{
	struct bpull_disk *disks[3];
	struct bpull_event event;

	for (int i = 0; i < 3; i++) {
		char name[] = "ov0";

		name[2] += i;
		make_overlay(name, i == 1 ? BPULL_FORMAT_QED : BPULL_FORMAT_QCOW2, "base.raw");
		disks[i] = open_disk(name);
		start(disks[i], 0, 0);
	}
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
		cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	}
	for (int i = 0; i < 3; i++)
		bpull_disk_close(disks[i]);
	expect_base_content("ov0");
	expect_base_content("ov1");
	expect_base_content("ov2");
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
		disks[i] = open_disk(names[i]);
		start(disks[i], 0, 0);
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

Test(api, a_base_changed_meanwhile_keeps_the_link)
{
	struct bpull_disk_options look = { .size = sizeof(look),
					   .flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE };
	const struct bpull_job_options accepts = { .size = sizeof(accepts),
						   .flags = BPULL_JOB_ACCEPT_MIXED };
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	struct bpull_disk *disk;
	struct bpull_event event;
	int fd;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, 32 * MiB, 0);
	expect_no_event(100);
	fd = open(scratch("base.raw"), O_WRONLY);
	cr_assert_eq(pwrite(fd, "x", 1, BASE_LEN - 1), 1);
	close(fd);
	bpull_job_set_speed(disk, 0, 0);
	event = next_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_assert_eq(event.error, -ESTALE);
	cr_assert_not_null(strstr(event.message, "base.raw"));
	/* Accepted or not: this disk has tables of the base's earlier state. */
	cr_assert_eq(bpull_job_start(disk, &accepts, NULL), -ESTALE);
	cr_assert_eq(bpull_job_check(disk, &accepts, NULL), -ESTALE);
	bpull_disk_close(disk);
	disk = open_disk("ov");
	cr_assert_eq(bpull_disk_depth(disk), 2, "the link is gone");
	cr_assert_eq(bpull_job_start(disk, NULL, NULL), -EPERM, "it was not marked");
	cr_assert_eq(bpull_job_check(disk, NULL, NULL), -EPERM);
	start(disk, 0, BPULL_JOB_ACCEPT_MIXED);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_info_open(scratch("ov"), &look, &info, NULL), 0);
	cr_assert_eq(bpull_info_layer(info, 0, &layer), 0);
	cr_assert(!layer.mixed && !layer.backing_name);
	bpull_info_close(info);
}

/* Long before the end: the next group commit looks. */
Test(api, a_base_changed_meanwhile_is_noticed_at_the_next_commit)
{
	struct bpull_disk *disk;
	struct bpull_event event;
	int fd;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("ov");
	start(disk, MiB / 4, 0);
	expect_no_event(100);
	fd = open(scratch("base.raw"), O_WRONLY);
	cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
	close(fd);
	event = next_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_assert_eq(event.error, -ESTALE);
	cr_assert_lt(info_of(disk).copied_bytes, data_len() / 2);
}

/* No job is there to see it, but what the one before has copied is of the earlier state. */
Test(api, a_base_changed_after_an_aborted_job_is_remembered)
{
	for (unsigned changes = 0; changes < 2; changes++) {
		const char *name = changes ? "ov1" : "ov0";
		struct bpull_disk *disk;
		int fd;

		make_overlay(name, BPULL_FORMAT_QCOW2, "base.raw");
		disk = open_disk(name);
		start(disk, 8 * MiB, 0);
		expect_no_event(300);
		bpull_job_abort(disk);
		cr_assert_eq(next_event(disk).status, BPULL_JOB_CANCELED);
		cr_assert_gt(info_of(disk).copied_bytes, 0);
		fd = open(scratch("base.raw"), O_WRONLY);
		if (changes)
			cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
		close(fd);
		bpull_disk_close(disk);
		disk = open_disk(name);
		cr_assert_eq(bpull_job_check(disk, NULL, NULL), changes ? -EPERM : 0);
		bpull_disk_close(disk);
	}
}

static void overwrite_base(uint64_t off, uint8_t byte, size_t len)
{
	uint8_t *bytes = malloc(len);
	int fd = open(scratch("base.raw"), O_WRONLY);

	memset(bytes, byte, len);
	cr_assert_eq(pwrite(fd, bytes, len, off), (ssize_t)len);
	close(fd);
	free(bytes);
}

static void guest_request(struct bpull_disk *disk, bool write, uint8_t *bytes, size_t len,
			  uint64_t off)
{
	struct iovec iov = { bytes, len };
	struct bpull_event event;

	if (write)
		bpull_write(disk, &iov, 1, off, 0, NULL);
	else
		bpull_read(disk, &iov, 1, off, NULL);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	cr_assert_eq(event.type, BPULL_EVENT_IO);
	cr_assert_eq(event.error, 0);
}

/* Zeros that were left out are proven: a guest that writes into them takes none of the base's new
 * bytes along, and the link stays for the base is not what it was. */
Test(api, a_base_that_changes_at_ready_does_not_show)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.user_data = &engine,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };
	uint8_t bytes[4096] = { 0 };
	struct bpull_disk *disk;
	struct bpull_event event;

	overwrite_base(4 * MiB, 0, MiB); /* zeros that are data */
	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), &o, &disk, &error), 0);
	start(disk, 0, BPULL_JOB_MANUAL_FINALIZE);
	cr_assert_eq(next_event(disk).status, BPULL_JOB_READY);
	overwrite_base(4 * MiB, 0xee, MiB);
	memset(bytes, 7, 512);
	guest_request(disk, true, bytes, 512, 4 * MiB + 512);
	guest_request(disk, false, bytes, sizeof(bytes), 4 * MiB);
	for (size_t i = 0; i < sizeof(bytes); i++)
		cr_assert_eq(bytes[i], i >= 512 && i < 1024 ? 7 : 0, "byte %zu", i);
	cr_assert_eq(bpull_job_finalize(disk), 0);
	event = next_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_assert_eq(event.error, -ESTALE);
	cr_assert_eq(bpull_disk_depth(disk), 2);
	guest_request(disk, false, bytes, sizeof(bytes), 4 * MiB);
	for (size_t i = 0; i < sizeof(bytes); i++)
		cr_assert_eq(bytes[i], i >= 512 && i < 1024 ? 7 : 0, "byte %zu, later", i);
}

Test(api, an_image_is_not_opened_twice_for_writing)
{
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;

	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	open_disk("ov");
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

Test(api, an_end_event_outlives_the_next_start)
{
	struct bpull_disk *disk;
	struct bpull_event first, second;

	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	disk = open_disk("top.qcow2");
	start(disk, 0, BPULL_JOB_START_PAUSED);
	cr_assert_eq(bpull_job_abort(disk), 0);
	while (info_of(disk).state != BPULL_JOB_CONCLUDED)
		cr_assert_eq(bpull_engine_wait(engine, &first, 0, 100), 0);
	start(disk, 0, 0);
	first = next_event(disk);
	cr_assert_eq(first.status, BPULL_JOB_CANCELED, "the first job's end was dropped");
	second = next_event(disk);
	cr_assert_eq(second.status, BPULL_JOB_COMPLETED);
	cr_assert_neq(first.message, second.message, "one event's text became the other's");
	bpull_disk_close(disk);
}
