/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A base that changes while a job runs, after it and at READY: the link stays, the
 * disk is marked, and no byte of the new state shows.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

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
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, 32 * MiB, 0);
	api_rig_no_event(100);
	fd = open(scratch("base.raw"), O_WRONLY);
	cr_assert_eq(pwrite(fd, "x", 1, API_RIG_BASE_LEN - 1), 1);
	close(fd);
	bpull_job_set_speed(disk, 0, 0);
	event = api_rig_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_assert_eq(event.error, -ESTALE);
	cr_assert_not_null(strstr(event.message, "base.raw"));
	/* Accepted or not: this disk has tables of the base's earlier state. */
	cr_assert_eq(bpull_job_start(disk, &accepts, NULL), -ESTALE);
	cr_assert_eq(bpull_job_check(disk, &accepts, NULL), -ESTALE);
	bpull_disk_close(disk);
	disk = api_rig_open("ov", 0);
	cr_assert_eq(bpull_disk_depth(disk), 2, "the link is gone");
	cr_assert_eq(bpull_job_start(disk, NULL, NULL), -EPERM, "it was not marked");
	cr_assert_eq(bpull_job_check(disk, NULL, NULL), -EPERM);
	api_rig_start(disk, 0, BPULL_JOB_ACCEPT_MIXED);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
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
	disk = api_rig_open("ov", 0);
	api_rig_start(disk, MiB / 4, 0);
	api_rig_no_event(100);
	fd = open(scratch("base.raw"), O_WRONLY);
	cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
	close(fd);
	event = api_rig_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_assert_eq(event.error, -ESTALE);
	cr_assert_lt(api_rig_info(disk).copied_bytes, api_rig_data_len() / 2);
}

/* No job is there to see it, but what the one before has copied is of the earlier state. */
Test(api, a_base_changed_after_an_aborted_job_is_remembered)
{
	for (unsigned changes = 0; changes < 2; changes++) {
		const char *name = changes ? "ov1" : "ov0";
		struct bpull_disk *disk;
		int fd;

		make_overlay(name, BPULL_FORMAT_QCOW2, "base.raw");
		disk = api_rig_open(name, 0);
		api_rig_start(disk, 8 * MiB, 0);
		api_rig_no_event(300);
		bpull_job_abort(disk);
		cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_CANCELED);
		cr_assert_gt(api_rig_info(disk).copied_bytes, 0);
		fd = open(scratch("base.raw"), O_WRONLY);
		if (changes)
			cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
		close(fd);
		bpull_disk_close(disk);
		disk = api_rig_open(name, 0);
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
	uint8_t bytes[4096] = { 0 };
	struct bpull_disk *disk;
	struct bpull_event event;

	overwrite_base(4 * MiB, 0, MiB); /* zeros that are data */
	make_overlay("ov", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_disk_open(engine, scratch("ov"), &o, &disk, &error), 0);
	api_rig_start(disk, 0, BPULL_JOB_MANUAL_FINALIZE);
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_READY);
	overwrite_base(4 * MiB, 0xee, MiB);
	memset(bytes, 7, 512);
	guest_request(disk, true, bytes, 512, 4 * MiB + 512);
	guest_request(disk, false, bytes, sizeof(bytes), 4 * MiB);
	for (size_t i = 0; i < sizeof(bytes); i++)
		cr_assert_eq(bytes[i], i >= 512 && i < 1024 ? 7 : 0, "byte %zu", i);
	cr_assert_eq(bpull_job_finalize(disk), 0);
	event = api_rig_event(disk);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_assert_eq(event.error, -ESTALE);
	cr_assert_eq(bpull_disk_depth(disk), 2);
	guest_request(disk, false, bytes, sizeof(bytes), 4 * MiB);
	for (size_t i = 0; i < sizeof(bytes); i++)
		cr_assert_eq(bytes[i], i >= 512 && i < 1024 ? 7 : 0, "byte %zu, later", i);
}
