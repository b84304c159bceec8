/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Disks that are opened without their image: what an engine may do before it has it, and how it
 * takes it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/inactive_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

/* ---- opened so ---- */

/* A migration: the destination has opened the image before the source gives it away. */
Test(inactive, a_disk_goes_to_one_that_was_opened_for_it)
{
	struct bpull_engine *other = inactive_open_engine();
	struct bpull_disk *source = inactive_open_disk("top"), *dest;

	inactive_put(source, 0x11, 0, MiB);
	dest = inactive_open_with(other, "top", BPULL_DISK_INACTIVE);
	cr_expect_eq(bpull_disk_size(dest), LEN);
	cr_expect_eq(bpull_pread(dest, inactive_buf, 4096, 0), -EPERM);
	cr_expect_eq(bpull_job_start(dest, NULL, &inactive_error), -EPERM);
	cr_expect_eq(bpull_disk_activate(dest, &inactive_error), -EBUSY);
	cr_expect(strstr(inactive_error.message, "top") && strstr(inactive_error.message, "in use"),
		  "%s", inactive_error.message);
	inactive_put(source, 0x12, 4 * MiB, MiB); /* into tables that the other has not seen */
	inactive_inactivate(source);
	inactive_activate(dest);
	inactive_expect(dest, 0x11, 0);
	inactive_expect(dest, 0x12, 4 * MiB);
	inactive_expect(dest, 0x5a, 6 * MiB);
	inactive_put(dest, 0x13, 6 * MiB, MiB);
	cr_expect_eq(bpull_disk_activate(source, &inactive_error), -EBUSY);
	inactive_inactivate(dest);
	inactive_activate(source);
	inactive_expect(source, 0x12, 4 * MiB);
	inactive_expect(source, 0x13, 6 * MiB);
	bpull_disk_close(source);
	bpull_disk_close(dest);
	bpull_engine_close(other);
	cr_expect_eq(scratch_run("qemu-img", "check", "-q", scratch("top"), NULL), 0);
}

/* The source's pull ends after the destination has opened the chain. */
Test(inactive, a_link_goes_before_the_disk_is_activated)
{
	struct bpull_engine *other = inactive_open_engine();
	struct bpull_disk *source = inactive_open_disk("top");
	struct bpull_disk *dest = inactive_open_with(other, "top", BPULL_DISK_INACTIVE);

	cr_expect_eq(bpull_disk_depth(dest), 2);
	cr_assert_eq(bpull_job_start(source, NULL, &inactive_error), 0, "%s",
		     inactive_error.message);
	cr_assert_eq(bpull_job_wait(source, -1), 0);
	bpull_disk_close(source);
	cr_assert_eq(inactive_qemu_io("top", "write -P 0x31 1M 64k"), 0,
		     "the destination has a lock");
	cr_assert_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write -P 0x99 0 4M",
				 scratch("base"), NULL),
		     0, "the destination has a lock of the base");
	inactive_activate(dest);
	cr_expect_eq(bpull_disk_depth(dest), 1);
	inactive_expect(dest, 0x5a, 0);
	inactive_expect(dest, 0x31, MiB);
	bpull_disk_close(dest);
	bpull_engine_close(other);
}

Test(inactive, opening_so_changes_nothing)
{
	struct stat before, after;
	struct bpull_disk *disk;

	cr_assert_eq(stat(scratch("top"), &before), 0);
	disk = inactive_open_with(inactive_engine, "top", BPULL_DISK_INACTIVE);
	inactive_inactivate(disk);
	bpull_disk_close(disk);
	cr_assert_eq(stat(scratch("top"), &after), 0);
	cr_expect_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	cr_expect_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec, "it was written to");
}

Test(inactive, whether_it_may_be_written_to_is_asked_again)
{
	struct bpull_disk *disk = inactive_open_with(inactive_engine, "top", BPULL_DISK_INACTIVE);
	uint8_t corrupt = 2, sound = 0;
	int fd = open(scratch("top"), O_RDWR);

	cr_assert_eq(pwrite(fd, &corrupt, 1, 79), 1);
	cr_expect_eq(bpull_disk_activate(disk, &inactive_error), -EUCLEAN);
	cr_expect(strstr(inactive_error.message, "corrupt"), "%s", inactive_error.message);
	cr_expect_eq(bpull_pwrite(disk, inactive_buf, 4096, 0, 0), -EPERM);
	cr_assert_eq(pwrite(fd, &sound, 1, 79), 1);
	cr_expect_eq(inactive_qemu_io("top", "read 0 4k"), 0, "it is locked after a refusal");
	inactive_activate(disk);
	inactive_put(disk, 0x11, 0, 4096);
	close(fd);
	bpull_disk_close(disk);
}

Test(inactive, a_reader_waits_for_its_locks_too)
{
	struct bpull_engine *other = inactive_open_engine();
	struct bpull_disk *source = inactive_open_disk("top");
	struct bpull_disk *looks =
		inactive_open_with(other, "top", BPULL_DISK_INACTIVE | BPULL_DISK_READ_ONLY);

	cr_expect_eq(bpull_disk_activate(looks, &inactive_error), -EBUSY);
	bpull_disk_close(source);
	inactive_activate(looks);
	inactive_expect(looks, 0x5a, 0);
	cr_expect_eq(bpull_pwrite(looks, inactive_buf, 4096, 0, 0), -EROFS);
	cr_expect_eq(inactive_qemu_io("top", "write 0 4k"), 1, "it is not locked");
	bpull_disk_close(looks);
	bpull_engine_close(other);
}

/* The files of one that was opened so are kept from other chains, and are its own again later. */
Test(inactive, what_was_opened_so_is_not_shared)
{
	struct bpull_disk *disk, *second;

	make_overlay("second", BPULL_FORMAT_QCOW2, "base");
	disk = inactive_open_with(inactive_engine, "top", BPULL_DISK_INACTIVE);
	second = inactive_open_disk("second");
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write 0 4k", scratch("base"), NULL),
		     1, "the base is shared with one that has no lock");
	bpull_disk_close(second);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write -P 0x77 0 4k",
				 scratch("base"), NULL),
		     0);
	inactive_activate(disk);
	inactive_expect(disk, 0x77, 0);
	bpull_disk_close(disk);
}

static int64_t slept_ns(void)
{
	struct timespec now, used;

	clock_gettime(CLOCK_MONOTONIC, &now);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (now.tv_sec - used.tv_sec) * INT64_C(1000000000) + now.tv_nsec - used.tv_nsec;
}

/* Of twenty tries: one that sleeps for a lock sleeps a second. */
Test(inactive, trying_waits_for_no_lock)
{
	struct bpull_engine *other = inactive_open_engine();
	struct bpull_disk *disk = inactive_open_disk("top"), *theirs;
	int64_t from_ns;

	inactive_inactivate(disk);
	theirs = inactive_open_with(other, "top", 0);
	from_ns = slept_ns();
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(bpull_disk_try_activate(disk, &inactive_error), -EBUSY);
		cr_assert(strstr(inactive_error.message, "top"), "%s", inactive_error.message);
	}
	cr_expect_lt(slept_ns() - from_ns, INT64_C(10000000000), "it waits for the lock");
	cr_expect_eq(bpull_pread(disk, inactive_buf, 4096, 0), -EPERM, "it is half active");
	inactive_put(theirs, 0x31, 0, 4096);
	bpull_disk_close(theirs);
	cr_assert_eq(bpull_disk_try_activate(disk, &inactive_error), 0, "%s",
		     inactive_error.message);
	cr_assert_eq(bpull_disk_try_activate(disk, &inactive_error), 0, "of an active disk");
	inactive_expect(disk, 0x31, 0);
	bpull_disk_close(disk);
	bpull_engine_close(other);
}

Test(inactive, a_raw_disk_is_named_as_before)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_INACTIVE };
	struct bpull_disk *disk;

	cr_expect_neq(bpull_disk_open(inactive_engine, scratch("base"), &o, &disk, &inactive_error),
		      0, "a job would pull into it");
	o.flags |= BPULL_DISK_GUEST_IO;
	cr_expect_eq(bpull_disk_open(inactive_engine, scratch("base"), &o, &disk, &inactive_error),
		     -EINVAL);
	o.format = BPULL_FORMAT_RAW;
	cr_assert_eq(bpull_disk_open(inactive_engine, scratch("base"), &o, &disk, &inactive_error),
		     0);
	inactive_activate(disk);
	inactive_put(disk, 0x11, 0, 4096);
	inactive_expect(disk, 0x11, 0);
	bpull_disk_close(disk);
	o.flags |= BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	cr_expect_eq(bpull_disk_open(inactive_engine, scratch("base"), &o, &disk, &inactive_error),
		     -EINVAL);
	cr_expect(strstr(inactive_error.message, "INACTIVE"), "%s", inactive_error.message);
}
