/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a program submits and never collects, or asks for beside the disk: it costs
 * no memory and no other disk's events.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"

static int one_result(void *user_data)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	cr_assert_eq(event.type, BPULL_EVENT_IO);
	cr_assert_eq(event.user_data, user_data);
	return event.error;
}

Test(api_misuse, requests_for_nothing_or_too_much_end_in_one_event)
{
	struct bpull_disk *disk = api_rig_open("top", BPULL_DISK_GUEST_IO);
	struct iovec iov = { .iov_base = &iov, .iov_len = 1 };
	struct bpull_extent extent;
	char id;

	bpull_read(disk, &iov, -1, 0, &id);
	cr_assert_eq(one_result(&id), -EINVAL);
	bpull_read(disk, &iov, INT_MAX, 0, &id);
	cr_assert_eq(one_result(&id), -EINVAL);
	bpull_read(disk, &iov, 1, API_RIG_SMALL_LEN, &id);
	cr_assert_eq(one_result(&id), -EINVAL);
	bpull_block_status(disk, 0, MiB, &extent, 0, &id);
	cr_assert_eq(one_result(&id), -EINVAL);
	bpull_block_status(disk, 0, MiB, NULL, 1, &id);
	cr_assert_eq(one_result(&id), -EINVAL);
	bpull_read(disk, &iov, 0, 0, &id);
	cr_assert_eq(one_result(&id), 0);
	bpull_write(disk, &iov, 0, API_RIG_SMALL_LEN, BPULL_IO_FUA, &id);
	cr_assert_eq(one_result(&id), 0);
	bpull_write_zeroes(disk, MiB, 0, 0, &id);
	cr_assert_eq(one_result(&id), 0);
	bpull_flush(disk, &id);
	cr_assert_eq(one_result(&id), 0);
	bpull_disk_close(disk);

	disk = api_rig_open("top", BPULL_DISK_GUEST_IO | BPULL_DISK_READ_ONLY);
	bpull_write_zeroes(disk, 0, MiB, 0, &id);
	cr_assert_eq(one_result(&id), -EROFS);
	bpull_flush(disk, &id);
	cr_assert_eq(one_result(&id), 0, "there is nothing to make durable");
	cr_assert_eq(bpull_disk_set_copy_on_read(disk, 1), -EROFS);
	cr_assert_eq(bpull_pflush(disk), -EINVAL, "no engine with a thread of its own");
	bpull_disk_close(disk);
}

/* Events of one disk are forgotten with it, whatever lies before and behind them in the queue. */
Test(api_misuse, a_disk_is_closed_with_results_uncollected)
{
	struct bpull_disk *a, *b;
	struct bpull_event event;
	char block[4096];
	struct iovec iov = { block, sizeof(block) };
	unsigned n = 0;

	make_overlay("other", BPULL_FORMAT_QCOW2, "base");
	a = api_rig_open("top", BPULL_DISK_GUEST_IO);
	b = api_rig_open("other", BPULL_DISK_GUEST_IO);
	for (unsigned i = 0; i < 8; i++)
		bpull_read(i % 2 ? a : b, &iov, 1, i * MiB, i % 2 ? (void *)a : (void *)b);
	/* All are over, none is collected but the first. */
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	n += event.disk == b;
	usleep(100000);
	bpull_engine_process(engine, &event, 1);
	n += event.disk == b;
	bpull_disk_close(a);
	while (bpull_engine_wait(engine, &event, 1, 300) == 1) {
		cr_assert_eq(event.disk, b);
		cr_assert_eq(event.user_data, b);
		n++;
	}
	cr_assert_eq(n, 4, "%u", n);
	bpull_disk_close(b);
}

/* The same for what jobs have to say. */
Test(api_misuse, a_disk_is_closed_with_job_events_uncollected)
{
	struct bpull_disk *disks[3];
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_event event;

	make_overlay("second", BPULL_FORMAT_QCOW2, "base");
	make_overlay("third", BPULL_FORMAT_QCOW2, "base");
	disks[0] = api_rig_open("top", 0);
	disks[1] = api_rig_open("second", 0);
	disks[2] = api_rig_open("third", 0);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(bpull_job_start(disks[i], NULL, &error), 0, "%s", error.message);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3000; k++) {
			struct bpull_event none[1];

			cr_assert_eq(bpull_engine_process(engine, none, 0), 0);
			bpull_job_get_info(disks[i], &info);
			if (info.state == BPULL_JOB_CONCLUDED)
				break;
			usleep(10000);
		}
	bpull_disk_close(disks[1]);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
		cr_assert(event.disk == disks[0] || event.disk == disks[2]);
		cr_assert_eq(event.status, BPULL_JOB_COMPLETED);
	}
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 100), 0);
}

static void *raise_shared(void *opaque)
{
	(void)opaque;
	usleep(200000);
	bpull_engine_set_speed(engine, 0, 0);
	return NULL;
}

/* Two jobs that would take minutes under the engine's limit are over when another thread lifts
 * it. */
Test(api_misuse, the_shared_limit_is_lifted_from_another_thread)
{
	struct bpull_engine_options o = { .size = sizeof(o), .bandwidth = 65536 };
	struct bpull_disk *disks[2];
	struct bpull_event event;
	pthread_t thread;

	bpull_engine_close(engine);
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0);
	make_overlay("other", BPULL_FORMAT_QCOW2, "base");
	disks[0] = api_rig_open("top", 0);
	disks[1] = api_rig_open("other", 0);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(bpull_job_start(disks[i], NULL, &error), 0);
	cr_assert_eq(pthread_create(&thread, NULL, raise_shared, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1, "still limited");
		cr_assert_eq(event.status, BPULL_JOB_COMPLETED);
	}
	pthread_join(thread, NULL);
}
