/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libvirt's block jobs as its documentation has them: numbers, units, flags,
 * what abort waits for, and which events come. Written from that, not from the
 * code.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull-libvirt.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MiB      (1u << 20)
#define BASE_LEN (16u * MiB)

static struct bpull_virt *virt;
static struct bpull_error error;
static atomic_int statuses[16];
static atomic_int n_events, last_type;
static char last_path[4096];

static void count(struct bpull_virt *from, const char *path, int type, int status, void *opaque)
{
	cr_assert_eq(from, virt);
	cr_assert_eq(opaque, &n_events);
	snprintf(last_path, sizeof(last_path), "%s", path);
	atomic_store(&last_type, type);
	atomic_store(&statuses[atomic_load(&n_events)], status);
	atomic_fetch_add(&n_events, 1);
}

static void wait_events(int n)
{
	for (int i = 0; i < 2000 && atomic_load(&n_events) < n; i++)
		usleep(5000);
	cr_assert_eq(atomic_load(&n_events), n);
}

static void begin(void)
{
	scratch_make();
	scratch_numbered("base", BASE_LEN / MiB);
	make_overlay("one", BPULL_FORMAT_QCOW2, "base");
	make_overlay("two", BPULL_FORMAT_QCOW2, "base");
	cr_assert_eq(bpull_virt_open(NULL, NULL, &virt, &error), 0, "%s", error.message);
	cr_assert_geq(bpull_virt_event_register(virt, count, &n_events, &error), 0);
}

static void end(void)
{
	bpull_virt_close(virt);
	scratch_remove();
}

TIME_LIMIT(120);
TestSuite(libvirt, .init = begin, .fini = end, .timeout = TIME_LIMIT_CLOCK(120));

static int info(const char *name, struct bpull_virt_block_job_info *out, unsigned flags)
{
	return bpull_virt_block_job_info(virt, scratch(name), out, flags, &error);
}

Test(libvirt, constants_have_libvirts_numbers)
{
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_TYPE_UNKNOWN, 0);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_TYPE_PULL, 1);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_COMPLETED, 0);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_FAILED, 1);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_CANCELED, 2);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_READY, 3);
	cr_assert_eq(BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES, 64);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES, 1);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_ABORT_ASYNC, 1);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT, 2);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_SPEED_BANDWIDTH_BYTES, 1);
}

Test(libvirt, a_pull_completes_and_can_be_repeated)
{
	struct bpull_virt_block_job_info i;

	cr_assert_eq(info("one", &i, 0), 0);
	cr_assert_eq(i.type, 0);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 0, 0, &error), 0, "%s",
		     error.message);
	wait_events(1);
	cr_assert_eq(atomic_load(&statuses[0]), BPULL_VIRT_BLOCK_JOB_COMPLETED);
	cr_assert_eq(atomic_load(&last_type), BPULL_VIRT_BLOCK_JOB_TYPE_PULL);
	cr_assert_str_eq(last_path, scratch("one"));
	cr_assert_eq(info("one", &i, 0), 0, "a finished job is none");
	/* And again: there is nothing to pull any more, which completes at once. */
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 0, 0, &error), 0, "%s",
		     error.message);
	wait_events(2);
	cr_assert_eq(atomic_load(&statuses[1]), BPULL_VIRT_BLOCK_JOB_COMPLETED);
}

Test(libvirt, rates_are_in_mib_unless_flags_say_bytes)
{
	struct bpull_virt_block_job_info i;

	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 2, 0, &error), 0);
	cr_assert_eq(info("one", &i, 0), 1);
	cr_assert_eq(i.type, 1);
	cr_assert_eq(i.bandwidth, 2);
	cr_assert_eq(i.end, BASE_LEN);
	cr_assert_leq(i.cur, i.end);
	cr_assert_eq(info("one", &i, BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES), 1);
	cr_assert_eq(i.bandwidth, 2 * MiB);
	cr_assert_eq(bpull_virt_block_job_set_speed(virt, scratch("one"), 3 * MiB + 1,
						    BPULL_VIRT_BLOCK_JOB_SPEED_BANDWIDTH_BYTES,
						    &error),
		     0);
	for (int n = 0; n < 1000; n++) { /* obeyed in the engine's next round */
		cr_assert_eq(info("one", &i, BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES), 1);
		if (i.bandwidth == 3 * MiB + 1)
			break;
		usleep(1000);
	}
	cr_assert_eq(i.bandwidth, 3 * MiB + 1);
	cr_assert_eq(info("one", &i, 0), 1);
	cr_assert_eq(i.bandwidth, 4, "MiB/s are rounded up");
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("two"), 5 * MiB,
					   BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES, &error),
		     0);
	cr_assert_eq(info("two", &i, 0), 1);
	cr_assert_eq(i.bandwidth, 5);
	cr_assert_eq(bpull_virt_block_job_set_speed(virt, scratch("two"), ~0ul >> 10, 0, &error),
		     -1);
	cr_assert_eq(error.code, -ERANGE);
	if (sizeof(long) > 4) /* what follows is of builds for 32 bits */
		return;
	cr_assert_eq(bpull_virt_block_job_set_speed(virt, scratch("two"), 4096, 0, &error), 0);
	for (int n = 0; n < 1000 && info("two", &i, 0) == 1 && i.bandwidth != 4096; n++)
		usleep(1000);
	cr_assert_eq(info("two", &i, BPULL_VIRT_BLOCK_JOB_INFO_BANDWIDTH_BYTES), -1);
	cr_assert_eq(error.code, -EOVERFLOW);
}

Test(libvirt, an_abort_returns_when_the_job_is_gone)
{
	struct bpull_virt_block_job_info i;

	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, &error), 0);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("one"), 0, &error), 0);
	cr_assert_eq(info("one", &i, 0), 0, "it returned before the job was gone");
	wait_events(1);
	cr_assert_eq(atomic_load(&statuses[0]), BPULL_VIRT_BLOCK_JOB_CANCELED);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("one"), 0, &error), -1);
	/* It goes on where it stopped. */
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 0, 0, &error), 0, "%s",
		     error.message);
	wait_events(2);
	cr_assert_eq(atomic_load(&statuses[1]), BPULL_VIRT_BLOCK_JOB_COMPLETED);
}

Test(libvirt, an_async_abort_ends_in_canceled)
{
	struct bpull_virt_block_job_info i;

	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, &error), 0);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("one"),
						BPULL_VIRT_BLOCK_JOB_ABORT_ASYNC, &error),
		     0);
	wait_events(1);
	cr_assert_eq(atomic_load(&statuses[0]), BPULL_VIRT_BLOCK_JOB_CANCELED);
	cr_assert_eq(info("one", &i, 0), 0);
}

Test(libvirt, two_disks_have_jobs_of_their_own)
{
	struct bpull_virt_block_job_info i;

	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, &error), 0);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("two"), 1, 0, &error), 0);
	cr_assert_eq(info("one", &i, 0), 1);
	cr_assert_eq(info("two", &i, 0), 1);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, &error), -1);
	cr_assert_eq(error.code, -EBUSY);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("two"), 0, &error), 0);
	cr_assert_eq(info("one", &i, 0), 1, "the other one goes on");
	cr_assert_eq(bpull_virt_block_job_set_speed(virt, scratch("one"), 0, 0, &error), 0);
	wait_events(2);
	cr_assert_eq(atomic_load(&statuses[0]), BPULL_VIRT_BLOCK_JOB_CANCELED);
	cr_assert_eq(atomic_load(&statuses[1]), BPULL_VIRT_BLOCK_JOB_COMPLETED);
}

Test(libvirt, bad_paths_flags_and_rates_are_refused)
{
	struct bpull_virt_block_job_info i;

	cr_assert_eq(bpull_virt_block_pull(virt, "one", 0, 0, &error), -1, "a relative path");
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("none"), 0, 0, &error), -1);
	cr_assert_eq(error.code, -ENOENT);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 0, 1, &error), -1, "unknown flag");
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), ~0ul, 0, &error), -1);
	cr_assert_eq(error.code, -ERANGE);
	cr_assert_eq(info("one", &i, 2), -1);
	cr_assert_eq(bpull_virt_block_job_info(virt, "one", &i, 0, &error), -1);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("one"), 0, &error), -1);
	cr_assert_eq(error.code, -ENOENT);
	cr_assert_eq(bpull_virt_block_job_set_speed(virt, scratch("one"), 1, 0, &error), -1);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, &error), 0);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("one"),
						BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT, &error),
		     -1);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("one"), 4, &error), -1);
	cr_assert_eq(bpull_virt_block_job_set_speed(virt, scratch("one"), 1, 2, &error), -1);
	cr_assert_eq(bpull_virt_event_deregister(virt, 7, &error), -1);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, NULL), -1,
		     "NULL is allowed");
	cr_assert_eq(atomic_load(&n_events), 0);
}

Test(libvirt, a_guest_reads_an_attached_disk_that_is_pulled)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *disk;
	uint8_t byte = 0;

	cr_assert_eq(bpull_disk_open(bpull_virt_engine(virt), scratch("one"), &o, &disk, &error), 0,
		     "%s", error.message);
	cr_assert_eq(bpull_virt_attach(virt, scratch("one"), disk, &error), 0);
	cr_assert_eq(bpull_virt_attach(virt, scratch("one"), disk, &error), -1);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 0, 0, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_pread(disk, &byte, 1, 5 * MiB + 1), 0);
	cr_assert_eq(byte, 6);
	wait_events(1);
	cr_assert_eq(bpull_pread(disk, &byte, 1, 7 * MiB + 1), 0, "it was closed");
	cr_assert_eq(byte, 8);
	cr_assert_eq(bpull_virt_detach(virt, scratch("one"), &error), 0);
	cr_assert_eq(bpull_virt_detach(virt, scratch("one"), &error), -1);
	bpull_disk_close(disk);
}

static void pull_again(struct bpull_virt *from, const char *path, int type, int status,
		       void *opaque)
{
	(void)type;
	(void)opaque;
	if (status == BPULL_VIRT_BLOCK_JOB_CANCELED)
		cr_assert_eq(bpull_virt_block_pull(from, path, 0, 0, NULL), 0);
}

Test(libvirt, a_callback_may_pull_again)
{
	int id = bpull_virt_event_register(virt, pull_again, NULL, &error);

	cr_assert_geq(id, 0);
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, &error), 0);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("one"), 0, &error), 0);
	wait_events(2);
	cr_assert_eq(atomic_load(&statuses[1]), BPULL_VIRT_BLOCK_JOB_COMPLETED);
	cr_assert_eq(bpull_virt_event_deregister(virt, id, &error), 0);
	cr_assert_eq(bpull_virt_event_deregister(virt, id, &error), -1);
}

Test(libvirt, all_may_be_closed_beside_a_job)
{
	cr_assert_eq(bpull_virt_block_pull(virt, scratch("one"), 1, 0, &error), 0);
}
