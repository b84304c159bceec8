/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Disks that give their image away: what another program writes meanwhile is read
 * afterwards, nothing of ours is written meanwhile, and who has the image is told.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/inactive_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(inactive, .init = inactive_set_up, .fini = inactive_tear_down,
	  .timeout = TIME_LIMIT_CLOCK(60));

Test(inactive, another_program_writes_and_we_read_it)
{
	struct bpull_disk *disk = inactive_open_disk("top");

	inactive_put(disk, 0x11, 0, MiB);
	inactive_expect(disk, 0x11, 0);
	inactive_expect(disk, 0x5a, 2 * MiB); /* tables are cached now */
	cr_expect_eq(inactive_qemu_io("top", "write 0 4k"), 1, "it is not locked");
	inactive_inactivate(disk);
	cr_expect_eq(scratch_run("qemu-img", "check", "-q", scratch("top"), NULL), 0,
		     "it is not clean");
	cr_expect_eq(inactive_qemu_io("top", "read -P 0x11 0 1M"), 0, "not all was durable");
	cr_assert_eq(inactive_qemu_io("top", "write -P 0x22 0 4k"), 0, "it is locked still");
	cr_assert_eq(inactive_qemu_io("top", "write -P 0x23 2M 64k"), 0);
	cr_assert_eq(inactive_qemu_io("top", "write -P 0x24 5M 64k"), 0);
	inactive_activate(disk);
	cr_expect_eq(inactive_qemu_io("top", "write 0 4k"), 1, "it is not locked again");
	inactive_expect(disk, 0x22, 0);
	inactive_expect(disk, 0x11, 4096);
	inactive_expect(disk, 0x23, 2 * MiB);
	inactive_expect(disk, 0x24, 5 * MiB);
	/* New space does not lie on what the other has taken. */
	inactive_put(disk, 0x33, 3 * MiB, MiB);
	inactive_put(disk, 0x34, 6 * MiB, MiB);
	inactive_expect(disk, 0x23, 2 * MiB);
	inactive_expect(disk, 0x24, 5 * MiB);
	bpull_disk_close(disk);
	cr_expect_eq(scratch_run("qemu-img", "check", "-q", scratch("top"), NULL), 0);
	cr_expect_eq(inactive_qemu_io("top", "read -P 0x24 5M 64k"), 0);
	cr_expect_eq(inactive_qemu_io("top", "read -P 0x33 3M 1M"), 0);
}

Test(inactive, nothing_is_done_meanwhile)
{
	struct bpull_disk *disk = inactive_open_disk("top");
	struct bpull_extent extent;
	struct stat before, after;

	inactive_put(disk, 0x11, 0, MiB);
	inactive_inactivate(disk);
	inactive_inactivate(disk);
	cr_assert_eq(stat(scratch("top"), &before), 0);
	cr_expect_eq(bpull_pread(disk, inactive_buf, 4096, 0), -EPERM);
	cr_expect_eq(bpull_pwrite(disk, inactive_buf, 4096, 0, 0), -EPERM);
	cr_expect_eq(bpull_pwrite(disk, inactive_buf, 4096, 7 * MiB, BPULL_IO_FUA), -EPERM);
	cr_expect_eq(bpull_pwrite_zeroes(disk, 0, 4096, 0), -EPERM);
	cr_expect_eq(bpull_pdiscard(disk, 0, MiB), -EPERM);
	cr_expect_eq(bpull_pflush(disk), -EPERM);
	cr_expect_eq(bpull_pblock_status(disk, 0, MiB, &extent, 1), -EPERM);
	cr_expect_eq(bpull_disk_map(disk, 0, &extent, 1, &inactive_error), -EPERM);
	cr_expect(strstr(inactive_error.message, "inactive"), "%s", inactive_error.message);
	cr_expect_eq(bpull_job_start(disk, NULL, &inactive_error), -EPERM);
	cr_expect_eq(bpull_job_check(disk, NULL, &inactive_error), -EPERM);
	cr_expect_eq(bpull_disk_size(disk), LEN);
	usleep(2500000); /* longer than the interval of commits */
	bpull_disk_close(disk);
	cr_assert_eq(stat(scratch("top"), &after), 0);
	cr_expect_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	cr_expect_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec, "it was written to");
}

/* Its reads need no table, and the page cache has the bytes. */
Test(inactive, a_raw_disk_is_not_read_either)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO,
					.format = BPULL_FORMAT_RAW };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(inactive_engine, scratch("base"), &o, &disk, &inactive_error),
		     0);
	inactive_expect(disk, 0x5a, 0);
	inactive_inactivate(disk);
	cr_expect_eq(bpull_pread(disk, inactive_buf, 4096, 0), -EPERM);
	cr_assert_eq(truncate(scratch("base"), 2 * LEN), 0);
	inactive_activate(disk);
	inactive_expect(disk, 0x5a, 0);
	cr_expect_eq(bpull_disk_size(disk), 2 * LEN);
	bpull_disk_close(disk);
}

Test(inactive, who_has_the_image_is_told)
{
	struct bpull_engine *other;
	struct bpull_disk *disk = inactive_open_disk("top"), *theirs;
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };

	inactive_inactivate(disk);
	cr_assert_eq(bpull_engine_open(NULL, &other, &inactive_error), 0);
	cr_assert_eq(bpull_disk_open(other, scratch("top"), &o, &theirs, &inactive_error), 0, "%s",
		     inactive_error.message);
	cr_expect_eq(bpull_disk_activate(disk, &inactive_error), -EBUSY);
	cr_expect(strstr(inactive_error.message, "top") && strstr(inactive_error.message, "in use"),
		  "%s", inactive_error.message);
	cr_expect_eq(bpull_pread(disk, inactive_buf, 4096, 0), -EPERM, "it is half active");
	bpull_disk_close(theirs);
	inactive_activate(disk);
	inactive_expect(disk, 0x5a, 0);
	cr_expect_eq(bpull_disk_open(other, scratch("top"), &o, &theirs, &inactive_error), -EBUSY);
	bpull_engine_close(other);
	bpull_disk_close(disk);
}

Test(inactive, a_job_comes_first)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_START_PAUSED };
	struct bpull_disk *disk = inactive_open_disk("top");

	cr_assert_eq(bpull_job_start(disk, &o, &inactive_error), 0);
	cr_expect_eq(bpull_disk_inactivate(disk, &inactive_error), -EBUSY);
	cr_expect(strstr(inactive_error.message, "job"), "%s", inactive_error.message);
	inactive_expect(disk, 0x5a, 0);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	inactive_inactivate(disk);
	inactive_activate(disk);
	o.flags = 0;
	cr_assert_eq(bpull_job_start(disk, &o, &inactive_error), 0, "%s", inactive_error.message);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	cr_expect_eq(bpull_disk_depth(disk), 1);
	inactive_expect(disk, 0x5a, 0);
	bpull_disk_close(disk);
}

/* The destination pulled, or committed: the chain is shorter than it was, or another. */
Test(inactive, the_chain_is_read_anew)
{
	struct bpull_disk *disk;

	make_overlay("high", BPULL_FORMAT_QCOW2, "base");
	cr_assert_eq(scratch_run("qemu-img", "create", "-f", "qcow2", "-b", "top", "-F", "qcow2",
				 scratch("high"), NULL),
		     0);
	disk = inactive_open_disk("high");
	cr_assert_eq(bpull_disk_depth(disk), 3);
	inactive_inactivate(disk);
	cr_assert_eq(inactive_qemu_io("top", "write -P 0x44 1M 64k"), 0,
		     "a backing file is locked");
	cr_assert_eq(truncate(scratch("base"), 4 * MiB), 0);
	inactive_activate(disk);
	inactive_expect(disk, 0x44, MiB);
	inactive_expect(disk, 0, 5 * MiB);
	inactive_inactivate(disk);
	cr_assert_eq(scratch_run("qemu-img", "rebase", "-f", "qcow2", "-b", "base", "-F", "raw",
				 scratch("high"), NULL),
		     0);
	inactive_activate(disk);
	cr_expect_eq(bpull_disk_depth(disk), 2);
	inactive_expect(disk, 0x44, MiB);
	inactive_expect(disk, 0x5a, 2 * MiB);
	inactive_inactivate(disk);
	cr_assert_eq(
		scratch_run("qemu-img", "rebase", "-f", "qcow2", "-b", "", scratch("high"), NULL),
		0);
	cr_assert_eq(scratch_run("qemu-img", "resize", "-q", "-f", "qcow2", scratch("high"), "12M",
				 NULL),
		     0);
	cr_assert_eq(unlink(scratch("base")), 0);
	inactive_activate(disk);
	cr_expect_eq(bpull_disk_depth(disk), 1);
	cr_expect_eq(bpull_disk_size(disk), 12 * MiB);
	inactive_expect(disk, 0x5a, 2 * MiB);
	inactive_expect(disk, 0, 11 * MiB);
	inactive_inactivate(disk);
	scratch_filled("elsewhere", 0x66, LEN);
	cr_assert_eq(scratch_run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "elsewhere", "-F",
				 "raw", scratch("high"), NULL),
		     0);
	cr_expect_eq(bpull_disk_activate(disk, &inactive_error), -ESTALE);
	cr_expect(strstr(inactive_error.message, "high"), "%s", inactive_error.message);
	cr_expect_eq(inactive_qemu_io("high", "read 0 4k"), 0, "it is locked after a refusal");
	bpull_disk_close(disk);
}

/* One that looks without locks has it to itself, so that ours comes back under a lock. */
Test(inactive, what_rests_is_not_shared)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE |
						 BPULL_DISK_GUEST_IO };
	struct bpull_disk *disk, *looks;

	cr_assert_eq(scratch_run("qemu-img", "create", "-f", "qcow2", "-b", "top", "-F", "qcow2",
				 scratch("high"), NULL),
		     0);
	disk = inactive_open_disk("high");
	inactive_inactivate(disk);
	cr_assert_eq(bpull_disk_open(inactive_engine, scratch("top"), &o, &looks, &inactive_error),
		     0, "%s", inactive_error.message);
	inactive_expect(looks, 0x5a, MiB);
	cr_assert_eq(inactive_qemu_io("top", "write -P 0x44 1M 64k"), 0);
	inactive_activate(disk);
	inactive_expect(disk, 0x44, MiB);
	cr_expect_eq(inactive_qemu_io("top", "write -P 0x45 1M 64k"), 1,
		     "a backing file is not locked");
	bpull_disk_close(looks);
	bpull_disk_close(disk);
}

/* Another disk needs the base's locks; a third does not share what may have changed. */
Test(inactive, others_keep_their_base)
{
	struct bpull_disk *a = inactive_open_disk("top"), *b;
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO };

	make_overlay("second", BPULL_FORMAT_QCOW2, "base");
	b = inactive_open_disk("second");
	inactive_inactivate(a);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write 0 4k", scratch("base"), NULL),
		     1, "the other disk's base is not locked");
	inactive_expect(b, 0x5a, 0);
	bpull_disk_close(b);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write 0 4k", scratch("base"), NULL),
		     1, "it stays locked as it was shared");
	inactive_activate(a);
	inactive_inactivate(a);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write -P 0x77 0 4k",
				 scratch("base"), NULL),
		     0, "no other disk has it any more");
	cr_assert_eq(bpull_disk_open(inactive_engine, scratch("base"),
				     &(struct bpull_disk_options){ .size = sizeof(o),
								   .flags = o.flags,
								   .format = BPULL_FORMAT_RAW },
				     &b, &inactive_error),
		     0, "%s", inactive_error.message);
	inactive_expect(b, 0x77, 0);
	inactive_activate(a);
	inactive_expect(a, 0x77, 0);
	bpull_disk_close(b);
	bpull_disk_close(a);
}
