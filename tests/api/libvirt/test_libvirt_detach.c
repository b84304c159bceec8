/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Detaching a disk from the libvirt handle while its job runs: the job goes on,
 * and the disk may be closed when the call has returned, whatever was under way.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull-libvirt.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN (8u << 20)

static struct bpull_disk *disk;
static struct bpull_error error;
static atomic_bool is_begun, is_over;

static void make_files(void)
{
	scratch_make();
	scratch_filled("base", 0x5a, BASE_LEN);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
}

TIME_LIMIT(120);
TestSuite(libvirt_detach, .init = make_files, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(120));

static atomic_uint n_called;
static struct bpull_virt *virt;
static char top[512];

static void count(struct bpull_virt *from, const char *path, int type, int status, void *opaque)
{
	n_called++;
}

static void *abort_and_wait(void *opaque)
{
	struct bpull_error why;

	(void)opaque;
	is_begun = true;
	bpull_virt_block_job_abort(virt, top, 0, &why);
	is_over = true;
	return NULL;
}

static void attach_and_pull(void)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };

	strcpy(top, scratch("top"));
	cr_assert_eq(bpull_virt_open(NULL, NULL, &virt, &error), 0, "%s", error.message);
	cr_assert_geq(bpull_virt_event_register(virt, count, NULL, &error), 0);
	cr_assert_eq(bpull_disk_open(bpull_virt_engine(virt), top, &o, &disk, &error), 0);
	cr_assert_eq(bpull_virt_attach(virt, top, disk, &error), 0);
	cr_assert_eq(bpull_virt_block_pull(virt, top, 65536, BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES,
					   &error),
		     0, "%s", error.message);
}

Test(libvirt_detach, a_job_goes_on_when_its_disk_is_detached)
{
	struct bpull_virt_block_job_info job;
	struct bpull_job_info info = { .size = sizeof(info) };

	attach_and_pull();
	cr_assert_eq(bpull_virt_detach(virt, top, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_virt_block_job_info(virt, top, &job, 0, &error), 0);
	cr_assert_eq(bpull_virt_block_job_abort(virt, top, 0, &error), -1);
	cr_assert_eq(error.code, -ENOENT);
	cr_assert_eq(bpull_virt_detach(virt, top, &error), -1);
	cr_assert_eq(error.code, -ENOENT);
	cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	cr_assert_eq(info.state, BPULL_JOB_RUNNING);
	cr_assert_eq(bpull_job_set_speed(disk, 0, 0), 0);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	bpull_job_get_info(disk, &info);
	cr_assert_eq(info.status, BPULL_JOB_COMPLETED);
	usleep(50000);
	cr_assert_eq(n_called, 0, "it is not known any more");
	bpull_disk_close(disk);
	bpull_virt_close(virt);
}

Test(libvirt_detach, detaching_waits_for_calls_under_way)
{
	pthread_t thread;

	/* Most times detach comes while the abort waits for the job; close would free it under
	 * that. */
	for (unsigned i = 0; i < 10; i++) {
		is_begun = is_over = false;
		attach_and_pull();
		cr_assert_eq(pthread_create(&thread, NULL, abort_and_wait, NULL), 0);
		while (!is_begun)
			;
		usleep(i * 100);
		cr_assert_eq(bpull_virt_detach(virt, top, &error), 0, "%s", error.message);
		bpull_disk_close(disk);
		pthread_join(thread, NULL);
		bpull_virt_close(virt);
	}
}

static void take_long(struct bpull_virt *from, const char *path, int type, int status, void *opaque)
{
	is_begun = true;
	usleep(300000);
	is_over = true;
}

/* The same with a callback, which has the disk in hand for as long as it likes. */
Test(libvirt_detach, detaching_waits_for_a_callback)
{
	attach_and_pull();
	cr_assert_geq(bpull_virt_event_register(virt, take_long, NULL, &error), 0);
	cr_assert_eq(
		bpull_virt_block_job_abort(virt, top, BPULL_VIRT_BLOCK_JOB_ABORT_ASYNC, &error), 0);
	while (!is_begun)
		usleep(1000);
	cr_assert_eq(bpull_virt_detach(virt, top, &error), 0, "%s", error.message);
	cr_assert(is_over, "the callback is still at it");
	bpull_disk_close(disk);
	bpull_virt_close(virt);
}

static atomic_int detached = 1;

static void detach_itself(struct bpull_virt *from, const char *path, int type, int status,
			  void *opaque)
{
	detached = bpull_virt_detach(from, top, NULL);
}

Test(libvirt_detach, a_callback_detaches_its_own_disk)
{
	attach_and_pull();
	cr_assert_geq(bpull_virt_event_register(virt, detach_itself, NULL, &error), 0);
	cr_assert_eq(bpull_virt_block_job_abort(virt, top, 0, &error), 0);
	for (unsigned i = 0; detached == 1 && i < 3000; i++)
		usleep(10000);
	cr_assert_eq(detached, 0);
	cr_assert_eq(bpull_virt_detach(virt, top, &error), -1);
	bpull_disk_close(disk);
	bpull_virt_close(virt);
}
