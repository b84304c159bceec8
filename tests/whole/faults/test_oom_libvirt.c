/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of the libvirt family and of an engine with a thread of its
 * own, failing. See oom_calls.h for what must hold.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "engine/blockpull-libvirt.h"
#include "tests/whole/faults/oom.h"
#include "tests/whole/faults/oom_calls.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TestSuite(oom_libvirt, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(600));

static const struct bpull_engine_options threads = { .size = sizeof(threads),
						     .io = BPULL_IO_THREADS,
						     .memory = 8 << 20 };

static atomic_int last_status;

static void note(struct bpull_virt *virt, const char *path, int type, int status, void *opaque)
{
	if (status != BPULL_VIRT_BLOCK_JOB_CANCELED) /* of a job before this one */
		atomic_store(&last_status, status);
}

/* The job's own failure is told by its status alone. */
static int wait_for_event(struct bpull_error *error)
{
	for (int i = 0; i < 4000 && atomic_load(&last_status) < 0; i++)
		usleep(5000);
	switch (atomic_load(&last_status)) {
	case BPULL_VIRT_BLOCK_JOB_COMPLETED: return 0;
	case BPULL_VIRT_BLOCK_JOB_FAILED:
		*error = (struct bpull_error){ -ENOMEM, "the job failed" };
		return -ENOMEM;
	default: cr_assert_fail("no event came"); return -EIO;
	}
}

/* To its end; nothing attached. */
static int pull_with(struct bpull_virt *virt, const char *path, struct bpull_error *error)
{
	struct bpull_virt_block_job_info info;

	atomic_store(&last_status, -1);
	if (bpull_virt_event_register(virt, note, NULL, error) < 0 ||
	    bpull_virt_block_pull(virt, path, 0, 0, error) ||
	    bpull_virt_block_job_info(virt, path, &info, 0, error) < 0)
		return error->code;
	return wait_for_event(error);
}

static int pull(struct bpull_error *error)
{
	struct bpull_virt *virt;
	int rc;

	if (bpull_virt_open(&threads, NULL, &virt, error))
		return error->code;
	rc = pull_with(virt, scratch("top"), error);
	bpull_virt_close(virt);
	return rc;
}

/* The job was over before it was asked for: for want of memory, or because an earlier try has left
 * nothing to copy. */
static int how_it_ended(struct bpull_disk *disk, struct bpull_error *error)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	cr_assert_eq(info.state, BPULL_JOB_CONCLUDED, "%s", error->message);
	return info.status == BPULL_JOB_COMPLETED ? 0 : info.error;
}

/* A disk of the program's own, a slow job that is aborted, and another to its end. */
static int attached_with(struct bpull_virt *virt, const char *path, struct bpull_error *error)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *disk;
	int rc = bpull_disk_open(bpull_virt_engine(virt), path, &o, &disk, error);

	if (rc)
		return rc;
	if (bpull_virt_attach(virt, path, disk, error)) {
		rc = error->code;
		bpull_disk_close(disk);
		return rc;
	}
	rc = bpull_virt_block_pull(virt, path, 1, BPULL_VIRT_BLOCK_PULL_BANDWIDTH_BYTES, error) ||
			     /* Slow still: faster, it may be over before it is aborted. */
			     bpull_virt_block_job_set_speed(
				     virt, path, 2, BPULL_VIRT_BLOCK_JOB_SPEED_BANDWIDTH_BYTES,
				     error) ||
			     bpull_virt_block_job_abort(virt, path, 0, error)
		     ? error->code
		     : 0;
	if (rc == -ENOENT)
		rc = error->code = how_it_ended(disk, error);
	if (!rc)
		rc = pull_with(virt, path, error);
	oom_pause(); /* it resolves the path anew: a program without memory tries again later */
	cr_assert_eq(bpull_virt_detach(virt, path, NULL), 0);
	oom_resume();
	bpull_disk_close(disk);
	return rc;
}

static int attached(struct bpull_error *error)
{
	struct bpull_virt *virt;
	int rc;

	if (bpull_virt_open(&threads, NULL, &virt, error))
		return error->code;
	rc = attached_with(virt, scratch("top"), error);
	bpull_virt_close(virt);
	return rc;
}

static void judge_pulled(void)
{
	oom_judge_image("top", false);
}

Test(oom_libvirt, a_pull_without_memory_says_so_and_can_be_repeated)
{
	oom_call_all(&(struct oom_call){ "libvirt's pull", oom_put_chain, pull, judge_pulled }, 60);
}

Test(oom_libvirt, an_attached_disk_survives_a_lack_of_memory)
{
	oom_call_all(&(struct oom_call){ "libvirt's attached disk", oom_put_chain, attached,
					 judge_pulled },
		     60);
}

/* ---- the calls that wait ---- */

static int blocking_with(struct bpull_disk *disk)
{
	struct bpull_extent extents[4];
	uint8_t buf[5000];
	int rc = bpull_job_start(disk, NULL, NULL);

	for (uint64_t at = 1; !rc && at < OOM_DISK_LEN - sizeof(buf); at += 50000) {
		rc = bpull_pread(disk, buf, sizeof(buf), at);
		if (!rc)
			rc = bpull_pwrite(disk, buf, sizeof(buf), at, BPULL_IO_FUA);
	}
	if (!rc)
		rc = bpull_pblock_status(disk, 0, OOM_DISK_LEN, extents, 4);
	rc = rc > 0 ? 0 : rc;
	if (!rc)
		rc = bpull_pflush(disk);
	return rc ? rc : bpull_job_wait(disk, -1);
}

static int blocking(struct bpull_error *error)
{
	struct bpull_engine_options eo = threads;
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	int rc;

	eo.flags = BPULL_ENGINE_THREAD;
	rc = bpull_engine_open(&eo, &engine, error);
	if (rc)
		return rc;
	rc = bpull_disk_open(engine, scratch("top"), &o, &disk, error);
	if (!rc) {
		rc = blocking_with(disk);
		if (!rc && bpull_job_get_info(disk, &info) && info.status != BPULL_JOB_COMPLETED)
			rc = info.error;
		if (rc == -EIO) /* tables could not be made ready to be written (I7) */
			rc = -ENOMEM;
		strcpy(error->message, "a call that waits");
	}
	bpull_engine_close(engine);
	return rc;
}

Test(oom_libvirt, blocking_calls_return_a_lack_of_memory)
{
	oom_call_all(&(struct oom_call){ "calls that wait", oom_put_chain, blocking, judge_pulled,
					 true },
		     60);
}
