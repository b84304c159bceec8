/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Disks that give their image away: what another program writes meanwhile is read
 * afterwards, nothing of ours is written meanwhile, and who has the image is told.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MiB (1u << 20)
#define LEN (8u * MiB)

static struct bpull_engine *engine;
static struct bpull_error error;
static char buf[MiB];

static void set_up(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };

	scratch_make();
	scratch_filled("base", 0x5a, LEN);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

static void tear_down(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TIME_LIMIT(60);
TestSuite(inactive, .init = set_up, .fini = tear_down, .timeout = TIME_LIMIT_CLOCK(60));

static struct bpull_disk *open_with(struct bpull_engine *with, const char *name, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO | flags };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(with, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	return disk;
}

static struct bpull_disk *open_disk(const char *name)
{
	return open_with(engine, name, 0);
}

/* Another engine, whose locks are as another process's. */
static struct bpull_engine *open_engine(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };
	struct bpull_engine *other;

	cr_assert_eq(bpull_engine_open(&o, &other, &error), 0, "%s", error.message);
	return other;
}

static void put(struct bpull_disk *disk, int byte, uint64_t off, size_t len)
{
	memset(buf, byte, len);
	cr_assert_eq(bpull_pwrite(disk, buf, len, off, 0), 0);
}

static void expect(struct bpull_disk *disk, int byte, uint64_t off)
{
	char got[4096];

	memset(got, 0, sizeof(got));
	cr_assert_eq(bpull_pread(disk, got, sizeof(got), off), 0);
	for (size_t i = 0; i < sizeof(got); i++)
		cr_assert_eq(got[i], byte, "%#x at %#zx, not %#x", got[i], (size_t)off + i, byte);
}

static void inactivate(struct bpull_disk *disk)
{
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
}

static void activate(struct bpull_disk *disk)
{
	cr_assert_eq(bpull_disk_activate(disk, &error), 0, "%s", error.message);
}

static int qemu_io(const char *name, const char *command)
{
	return scratch_run("qemu-io", "-f", "qcow2", "-c", command, scratch(name), NULL);
}

Test(inactive, another_program_writes_and_we_read_it)
{
	struct bpull_disk *disk = open_disk("top");

	put(disk, 0x11, 0, MiB);
	expect(disk, 0x11, 0);
	expect(disk, 0x5a, 2 * MiB); /* tables are cached now */
	cr_expect_eq(qemu_io("top", "write 0 4k"), 1, "it is not locked");
	inactivate(disk);
	cr_expect_eq(scratch_run("qemu-img", "check", "-q", scratch("top"), NULL), 0,
		     "it is not clean");
	cr_expect_eq(qemu_io("top", "read -P 0x11 0 1M"), 0, "not all was durable");
	cr_assert_eq(qemu_io("top", "write -P 0x22 0 4k"), 0, "it is locked still");
	cr_assert_eq(qemu_io("top", "write -P 0x23 2M 64k"), 0);
	cr_assert_eq(qemu_io("top", "write -P 0x24 5M 64k"), 0);
	activate(disk);
	cr_expect_eq(qemu_io("top", "write 0 4k"), 1, "it is not locked again");
	expect(disk, 0x22, 0);
	expect(disk, 0x11, 4096);
	expect(disk, 0x23, 2 * MiB);
	expect(disk, 0x24, 5 * MiB);
	/* New space does not lie on what the other has taken. */
	put(disk, 0x33, 3 * MiB, MiB);
	put(disk, 0x34, 6 * MiB, MiB);
	expect(disk, 0x23, 2 * MiB);
	expect(disk, 0x24, 5 * MiB);
	bpull_disk_close(disk);
	cr_expect_eq(scratch_run("qemu-img", "check", "-q", scratch("top"), NULL), 0);
	cr_expect_eq(qemu_io("top", "read -P 0x24 5M 64k"), 0);
	cr_expect_eq(qemu_io("top", "read -P 0x33 3M 1M"), 0);
}

Test(inactive, nothing_is_done_meanwhile)
{
	struct bpull_disk *disk = open_disk("top");
	struct bpull_extent extent;
	struct stat before, after;

	put(disk, 0x11, 0, MiB);
	inactivate(disk);
	inactivate(disk);
	cr_assert_eq(stat(scratch("top"), &before), 0);
	cr_expect_eq(bpull_pread(disk, buf, 4096, 0), -EPERM);
	cr_expect_eq(bpull_pwrite(disk, buf, 4096, 0, 0), -EPERM);
	cr_expect_eq(bpull_pwrite(disk, buf, 4096, 7 * MiB, BPULL_IO_FUA), -EPERM);
	cr_expect_eq(bpull_pwrite_zeroes(disk, 0, 4096, 0), -EPERM);
	cr_expect_eq(bpull_pdiscard(disk, 0, MiB), -EPERM);
	cr_expect_eq(bpull_pflush(disk), -EPERM);
	cr_expect_eq(bpull_pblock_status(disk, 0, MiB, &extent, 1), -EPERM);
	cr_expect_eq(bpull_disk_map(disk, 0, &extent, 1, &error), -EPERM);
	cr_expect(strstr(error.message, "inactive"), "%s", error.message);
	cr_expect_eq(bpull_job_start(disk, NULL, &error), -EPERM);
	cr_expect_eq(bpull_job_check(disk, NULL, &error), -EPERM);
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

	cr_assert_eq(bpull_disk_open(engine, scratch("base"), &o, &disk, &error), 0);
	expect(disk, 0x5a, 0);
	inactivate(disk);
	cr_expect_eq(bpull_pread(disk, buf, 4096, 0), -EPERM);
	cr_assert_eq(truncate(scratch("base"), 2 * LEN), 0);
	activate(disk);
	expect(disk, 0x5a, 0);
	cr_expect_eq(bpull_disk_size(disk), 2 * LEN);
	bpull_disk_close(disk);
}

Test(inactive, who_has_the_image_is_told)
{
	struct bpull_engine *other;
	struct bpull_disk *disk = open_disk("top"), *theirs;
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };

	inactivate(disk);
	cr_assert_eq(bpull_engine_open(NULL, &other, &error), 0);
	cr_assert_eq(bpull_disk_open(other, scratch("top"), &o, &theirs, &error), 0, "%s",
		     error.message);
	cr_expect_eq(bpull_disk_activate(disk, &error), -EBUSY);
	cr_expect(strstr(error.message, "top") && strstr(error.message, "in use"), "%s",
		  error.message);
	cr_expect_eq(bpull_pread(disk, buf, 4096, 0), -EPERM, "it is half active");
	bpull_disk_close(theirs);
	activate(disk);
	expect(disk, 0x5a, 0);
	cr_expect_eq(bpull_disk_open(other, scratch("top"), &o, &theirs, &error), -EBUSY);
	bpull_engine_close(other);
	bpull_disk_close(disk);
}

Test(inactive, a_job_comes_first)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_START_PAUSED };
	struct bpull_disk *disk = open_disk("top");

	cr_assert_eq(bpull_job_start(disk, &o, &error), 0);
	cr_expect_eq(bpull_disk_inactivate(disk, &error), -EBUSY);
	cr_expect(strstr(error.message, "job"), "%s", error.message);
	expect(disk, 0x5a, 0);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	inactivate(disk);
	activate(disk);
	o.flags = 0;
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	cr_expect_eq(bpull_disk_depth(disk), 1);
	expect(disk, 0x5a, 0);
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
	disk = open_disk("high");
	cr_assert_eq(bpull_disk_depth(disk), 3);
	inactivate(disk);
	cr_assert_eq(qemu_io("top", "write -P 0x44 1M 64k"), 0, "a backing file is locked");
	cr_assert_eq(truncate(scratch("base"), 4 * MiB), 0);
	activate(disk);
	expect(disk, 0x44, MiB);
	expect(disk, 0, 5 * MiB);
	inactivate(disk);
	cr_assert_eq(scratch_run("qemu-img", "rebase", "-f", "qcow2", "-b", "base", "-F", "raw",
				 scratch("high"), NULL),
		     0);
	activate(disk);
	cr_expect_eq(bpull_disk_depth(disk), 2);
	expect(disk, 0x44, MiB);
	expect(disk, 0x5a, 2 * MiB);
	inactivate(disk);
	cr_assert_eq(
		scratch_run("qemu-img", "rebase", "-f", "qcow2", "-b", "", scratch("high"), NULL),
		0);
	cr_assert_eq(scratch_run("qemu-img", "resize", "-q", "-f", "qcow2", scratch("high"), "12M",
				 NULL),
		     0);
	cr_assert_eq(unlink(scratch("base")), 0);
	activate(disk);
	cr_expect_eq(bpull_disk_depth(disk), 1);
	cr_expect_eq(bpull_disk_size(disk), 12 * MiB);
	expect(disk, 0x5a, 2 * MiB);
	expect(disk, 0, 11 * MiB);
	inactivate(disk);
	scratch_filled("elsewhere", 0x66, LEN);
	cr_assert_eq(scratch_run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "elsewhere", "-F",
				 "raw", scratch("high"), NULL),
		     0);
	cr_expect_eq(bpull_disk_activate(disk, &error), -ESTALE);
	cr_expect(strstr(error.message, "high"), "%s", error.message);
	cr_expect_eq(qemu_io("high", "read 0 4k"), 0, "it is locked after a refusal");
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
	disk = open_disk("high");
	inactivate(disk);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &looks, &error), 0, "%s",
		     error.message);
	expect(looks, 0x5a, MiB);
	cr_assert_eq(qemu_io("top", "write -P 0x44 1M 64k"), 0);
	activate(disk);
	expect(disk, 0x44, MiB);
	cr_expect_eq(qemu_io("top", "write -P 0x45 1M 64k"), 1, "a backing file is not locked");
	bpull_disk_close(looks);
	bpull_disk_close(disk);
}

/* Another disk needs the base's locks; a third does not share what may have changed. */
Test(inactive, others_keep_their_base)
{
	struct bpull_disk *a = open_disk("top"), *b;
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO };

	make_overlay("second", BPULL_FORMAT_QCOW2, "base");
	b = open_disk("second");
	inactivate(a);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write 0 4k", scratch("base"), NULL),
		     1, "the other disk's base is not locked");
	expect(b, 0x5a, 0);
	bpull_disk_close(b);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write 0 4k", scratch("base"), NULL),
		     1, "it stays locked as it was shared");
	activate(a);
	inactivate(a);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write -P 0x77 0 4k",
				 scratch("base"), NULL),
		     0, "no other disk has it any more");
	cr_assert_eq(bpull_disk_open(engine, scratch("base"),
				     &(struct bpull_disk_options){ .size = sizeof(o),
								   .flags = o.flags,
								   .format = BPULL_FORMAT_RAW },
				     &b, &error),
		     0, "%s", error.message);
	expect(b, 0x77, 0);
	activate(a);
	expect(a, 0x77, 0);
	bpull_disk_close(b);
	bpull_disk_close(a);
}

/* ---- opened so ---- */

/* A migration: the destination has opened the image before the source gives it away. */
Test(inactive, a_disk_goes_to_one_that_was_opened_for_it)
{
	struct bpull_engine *other = open_engine();
	struct bpull_disk *source = open_disk("top"), *dest;

	put(source, 0x11, 0, MiB);
	dest = open_with(other, "top", BPULL_DISK_INACTIVE);
	cr_expect_eq(bpull_disk_size(dest), LEN);
	cr_expect_eq(bpull_pread(dest, buf, 4096, 0), -EPERM);
	cr_expect_eq(bpull_job_start(dest, NULL, &error), -EPERM);
	cr_expect_eq(bpull_disk_activate(dest, &error), -EBUSY);
	cr_expect(strstr(error.message, "top") && strstr(error.message, "in use"), "%s",
		  error.message);
	put(source, 0x12, 4 * MiB, MiB); /* into tables that the other has not seen */
	inactivate(source);
	activate(dest);
	expect(dest, 0x11, 0);
	expect(dest, 0x12, 4 * MiB);
	expect(dest, 0x5a, 6 * MiB);
	put(dest, 0x13, 6 * MiB, MiB);
	cr_expect_eq(bpull_disk_activate(source, &error), -EBUSY);
	inactivate(dest);
	activate(source);
	expect(source, 0x12, 4 * MiB);
	expect(source, 0x13, 6 * MiB);
	bpull_disk_close(source);
	bpull_disk_close(dest);
	bpull_engine_close(other);
	cr_expect_eq(scratch_run("qemu-img", "check", "-q", scratch("top"), NULL), 0);
}

/* The source's pull ends after the destination has opened the chain. */
Test(inactive, a_link_goes_before_the_disk_is_activated)
{
	struct bpull_engine *other = open_engine();
	struct bpull_disk *source = open_disk("top");
	struct bpull_disk *dest = open_with(other, "top", BPULL_DISK_INACTIVE);

	cr_expect_eq(bpull_disk_depth(dest), 2);
	cr_assert_eq(bpull_job_start(source, NULL, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_job_wait(source, -1), 0);
	bpull_disk_close(source);
	cr_assert_eq(qemu_io("top", "write -P 0x31 1M 64k"), 0, "the destination has a lock");
	cr_assert_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write -P 0x99 0 4M",
				 scratch("base"), NULL),
		     0, "the destination has a lock of the base");
	activate(dest);
	cr_expect_eq(bpull_disk_depth(dest), 1);
	expect(dest, 0x5a, 0);
	expect(dest, 0x31, MiB);
	bpull_disk_close(dest);
	bpull_engine_close(other);
}

Test(inactive, opening_so_changes_nothing)
{
	struct stat before, after;
	struct bpull_disk *disk;

	cr_assert_eq(stat(scratch("top"), &before), 0);
	disk = open_with(engine, "top", BPULL_DISK_INACTIVE);
	inactivate(disk);
	bpull_disk_close(disk);
	cr_assert_eq(stat(scratch("top"), &after), 0);
	cr_expect_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	cr_expect_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec, "it was written to");
}

Test(inactive, whether_it_may_be_written_to_is_asked_again)
{
	struct bpull_disk *disk = open_with(engine, "top", BPULL_DISK_INACTIVE);
	uint8_t corrupt = 2, sound = 0;
	int fd = open(scratch("top"), O_RDWR);

	cr_assert_eq(pwrite(fd, &corrupt, 1, 79), 1);
	cr_expect_eq(bpull_disk_activate(disk, &error), -EUCLEAN);
	cr_expect(strstr(error.message, "corrupt"), "%s", error.message);
	cr_expect_eq(bpull_pwrite(disk, buf, 4096, 0, 0), -EPERM);
	cr_assert_eq(pwrite(fd, &sound, 1, 79), 1);
	cr_expect_eq(qemu_io("top", "read 0 4k"), 0, "it is locked after a refusal");
	activate(disk);
	put(disk, 0x11, 0, 4096);
	close(fd);
	bpull_disk_close(disk);
}

Test(inactive, a_reader_waits_for_its_locks_too)
{
	struct bpull_engine *other = open_engine();
	struct bpull_disk *source = open_disk("top");
	struct bpull_disk *looks =
		open_with(other, "top", BPULL_DISK_INACTIVE | BPULL_DISK_READ_ONLY);

	cr_expect_eq(bpull_disk_activate(looks, &error), -EBUSY);
	bpull_disk_close(source);
	activate(looks);
	expect(looks, 0x5a, 0);
	cr_expect_eq(bpull_pwrite(looks, buf, 4096, 0, 0), -EROFS);
	cr_expect_eq(qemu_io("top", "write 0 4k"), 1, "it is not locked");
	bpull_disk_close(looks);
	bpull_engine_close(other);
}

/* The files of one that was opened so are kept from other chains, and are its own again later. */
Test(inactive, what_was_opened_so_is_not_shared)
{
	struct bpull_disk *disk, *second;

	make_overlay("second", BPULL_FORMAT_QCOW2, "base");
	disk = open_with(engine, "top", BPULL_DISK_INACTIVE);
	second = open_disk("second");
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write 0 4k", scratch("base"), NULL),
		     1, "the base is shared with one that has no lock");
	bpull_disk_close(second);
	cr_expect_eq(scratch_run("qemu-io", "-f", "raw", "-c", "write -P 0x77 0 4k",
				 scratch("base"), NULL),
		     0);
	activate(disk);
	expect(disk, 0x77, 0);
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
	struct bpull_engine *other = open_engine();
	struct bpull_disk *disk = open_disk("top"), *theirs;
	int64_t from_ns;

	inactivate(disk);
	theirs = open_with(other, "top", 0);
	from_ns = slept_ns();
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(bpull_disk_try_activate(disk, &error), -EBUSY);
		cr_assert(strstr(error.message, "top"), "%s", error.message);
	}
	cr_expect_lt(slept_ns() - from_ns, INT64_C(10000000000), "it waits for the lock");
	cr_expect_eq(bpull_pread(disk, buf, 4096, 0), -EPERM, "it is half active");
	put(theirs, 0x31, 0, 4096);
	bpull_disk_close(theirs);
	cr_assert_eq(bpull_disk_try_activate(disk, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_try_activate(disk, &error), 0, "of an active disk");
	expect(disk, 0x31, 0);
	bpull_disk_close(disk);
	bpull_engine_close(other);
}

Test(inactive, a_raw_disk_is_named_as_before)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_INACTIVE };
	struct bpull_disk *disk;

	cr_expect_neq(bpull_disk_open(engine, scratch("base"), &o, &disk, &error), 0,
		      "a job would pull into it");
	o.flags |= BPULL_DISK_GUEST_IO;
	cr_expect_eq(bpull_disk_open(engine, scratch("base"), &o, &disk, &error), -EINVAL);
	o.format = BPULL_FORMAT_RAW;
	cr_assert_eq(bpull_disk_open(engine, scratch("base"), &o, &disk, &error), 0);
	activate(disk);
	put(disk, 0x11, 0, 4096);
	expect(disk, 0x11, 0);
	bpull_disk_close(disk);
	o.flags |= BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	cr_expect_eq(bpull_disk_open(engine, scratch("base"), &o, &disk, &error), -EINVAL);
	cr_expect(strstr(error.message, "INACTIVE"), "%s", error.message);
}
