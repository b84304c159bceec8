/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How many descriptors an open image takes: one a file, and under io_uring a second
 * one for the locks, which a ring that is taken apart late must not keep. What a
 * killed process leaves locked is asked of the built command: tests/bb/faults/test_kill.py.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

#define BASE_LEN (1u << 20)

static struct bpull_engine *engine;
static struct bpull_error error;

static void begin(void)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .backing_name = "middle",
					  .backing_format = BPULL_FORMAT_QCOW2 };

	scratch_make();
	scratch_filled("base", 0x5a, BASE_LEN);
	make_overlay("middle", BPULL_FORMAT_QCOW2, "base");
	cr_assert_eq(bpull_create(scratch("top"), &o, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_create(scratch("second"), &o, &error), 0, "%s", error.message);
}

static void end(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TestSuite(descriptors, .init = begin, .fini = end, .timeout = 60);

/* Those of this process that lead into the scratch directory. */
static unsigned count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned n = 0;

	cr_assert_not_null(dir);
	while ((entry = readdir(dir))) {
		char link[300], to[4096] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%s", entry->d_name);
		if (readlink(link, to, sizeof(to) - 1) > 0)
			n += !strncmp(to, scratch_dir(), strlen(scratch_dir()));
	}
	closedir(dir);
	return n;
}

/* Asks as QEMU does: another program may not write to it. */
static bool is_locked(const char *name)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1 };
	int fd = open(scratch(name), O_RDWR | O_CLOEXEC);

	cr_assert(fd >= 0 && !fcntl(fd, F_OFD_GETLK, &lock), "%s: %s", name, strerror(errno));
	close(fd);
	return lock.l_type != F_UNLCK;
}

static void check_locked(bool wanted)
{
	static const char *const names[] = { "top", "middle", "base" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_assert_eq(is_locked(names[i]), wanted, "%s", names[i]);
}

/* a_file: descriptors. */
static void open_pull_close(enum bpull_io io, unsigned a_file)
{
	struct bpull_engine_options o = { .size = sizeof(o),
					  .io = io,
					  .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk *disk, *second;

	if (bpull_engine_open(&o, &engine, &error) == -ENOTSUP)
		scratch_skip("%s", error.message);
	cr_assert_not_null(engine, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), NULL, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(count(), 3 * a_file);
	check_locked(true);
	/* The files of its chain are open already. */
	cr_assert_eq(bpull_disk_open(engine, scratch("second"), NULL, &second, &error), 0);
	cr_assert_eq(count(), 4 * a_file);
	bpull_disk_close(second);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	cr_assert_eq(count(), a_file);
	cr_assert(is_locked("top") && !is_locked("base"));
	bpull_disk_close(disk);
	cr_assert_eq(count(), 0);
	check_locked(false);
}

Test(descriptors, one_a_file_with_threads)
{
	open_pull_close(BPULL_IO_THREADS, 1);
}

Test(descriptors, two_a_file_with_io_uring)
{
	open_pull_close(BPULL_IO_URING, 2);
}

Test(descriptors, one_a_file_of_what_only_looks)
{
	struct bpull_info *info;

	cr_assert_eq(bpull_info_open(scratch("top"), NULL, &info, &error), 0, "%s", error.message);
	cr_assert_eq(count(), 3);
	check_locked(true);
	bpull_info_close(info);
	cr_assert_eq(count(), 0);
}
