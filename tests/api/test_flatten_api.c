/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flattening into a new file, as a program sees it: the file is there when
 * COMPLETED says so, and in every other case it is not, nor is anything else.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/scratch.h"

#define LEN (3u << 20)

static struct bpull_engine *engine;

/* What a directory's fsync says, in the library's calls, too; 0: what the kernel says. */
static int dir_sync_errno;

__attribute__((visibility("default"))) int fsync(int fd)
{
	struct stat st;

	if (dir_sync_errno && !fstat(fd, &st) && S_ISDIR(st.st_mode)) {
		errno = dir_sync_errno;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

/* This directory appears as soon as the library has seen that there is none; NULL: none does. */
static const char *appearing;

__attribute__((visibility("default"))) int lstat(const char *path, struct stat *st)
{
	int rc = fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
	int code = errno;

	if (rc && appearing && !strcmp(path, appearing))
		cr_assert_eq(mkdir(appearing, 0700), 0);
	errno = code;
	return rc;
}

static void set_up(void)
{
	static uint8_t bytes[LEN];

	scratch_make();
	for (size_t i = 0; i < LEN; i += 3)
		bytes[i] = i * 7 + i / 1000 + 1;
	memset(bytes + (1u << 20), 0, 1u << 20);
	scratch_file("source", bytes, LEN);
	cr_assert_eq(bpull_engine_open(NULL, &engine, NULL), 0);
}

static void tear_down(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TestSuite(flatten_api, .init = set_up, .fini = tear_down);

static struct bpull_disk *open_flatten(const char *source, const char *out,
				       enum bpull_format format)
{
	struct bpull_create_options o = { .size = sizeof(o), .format = format };
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;

	cr_assert_eq(
		bpull_flatten_open(engine, scratch(source), NULL, scratch(out), &o, &disk, &error),
		0, "%s", error.message);
	cr_assert_eq(bpull_disk_size(disk), LEN);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	return disk;
}

static enum bpull_job_status run(struct bpull_disk *disk, uint64_t bandwidth, bool abort_it)
{
	struct bpull_job_options o = { .size = sizeof(o), .bandwidth = bandwidth };
	struct bpull_error error = { 0 };
	struct bpull_event event;

	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	if (abort_it)
		bpull_job_abort(disk);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 20000), 1);
	return event.status;
}

/* The source is closed; the new file says itself where its data is. */
static void expect_mapped(struct bpull_disk *disk)
{
	struct bpull_extent extents[64];
	struct bpull_error error = { 0 };
	uint64_t at = 0, data_len = 0;

	while (at < LEN) {
		int n = bpull_disk_map(disk, at, extents, 64, &error);

		cr_assert_gt(n, 0, "%s", error.message);
		for (int i = 0; i < n; i++) {
			cr_assert_eq(extents[i].start, at);
			at += extents[i].length;
			if (extents[i].present && !extents[i].zero)
				data_len += extents[i].length;
		}
	}
	cr_assert_geq(data_len, 2u << 20); /* the rest is zeros */
}

static void expect_same(const char *raw)
{
	uint8_t *want = malloc(LEN), *got = malloc(LEN);
	int a = open(scratch("source"), O_RDONLY), b = open(scratch(raw), O_RDONLY);

	cr_assert_eq(pread(a, want, LEN, 0), LEN);
	cr_assert_eq(pread(b, got, LEN, 0), LEN);
	cr_assert_eq(lseek(b, 0, SEEK_END), LEN);
	cr_assert_eq(memcmp(want, got, LEN), 0);
	close(a);
	close(b);
	free(want);
	free(got);
}

Test(flatten_api, each_format_can_be_made_of_each)
{
	static const enum bpull_format formats[] = { BPULL_FORMAT_QCOW2, BPULL_FORMAT_QED,
						     BPULL_FORMAT_RAW, BPULL_FORMAT_UNKNOWN };

	for (unsigned i = 0; i < 4; i++) {
		struct bpull_disk *disk = open_flatten("source", "there", formats[i]);

		cr_assert_neq(access(scratch("there"), F_OK), 0, "it is there already");
		cr_assert_eq(run(disk, 0, false), BPULL_JOB_COMPLETED);
		cr_assert_eq(access(scratch("there"), F_OK), 0);
		bpull_disk_close(disk);
		disk = open_flatten("there", "back", BPULL_FORMAT_RAW);
		cr_assert_eq(run(disk, 0, false), BPULL_JOB_COMPLETED);
		expect_mapped(disk);
		bpull_disk_close(disk);
		expect_same("back");
		unlink(scratch("there"));
		unlink(scratch("back"));
	}
	cr_assert_eq(scratch_n_files(), 1);
}

Test(flatten_api, aborted_it_is_gone_and_cannot_be_started_again)
{
	struct bpull_disk *disk = open_flatten("source", "out", BPULL_FORMAT_QCOW2);
	struct bpull_error error;

	cr_assert_eq(scratch_n_files(), 2);
	cr_assert_eq(run(disk, 100000, true), BPULL_JOB_CANCELED);
	cr_assert_eq(scratch_n_files(), 1);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), -EINVAL);
	cr_assert(strstr(error.message, "anew"));
	bpull_disk_close(disk);
}

Test(flatten_api, closed_in_the_middle_or_before)
{
	struct bpull_job_options slow = { .size = sizeof(slow), .bandwidth = 100000 };
	struct bpull_disk *disk = open_flatten("source", "out", BPULL_FORMAT_QED);

	bpull_disk_close(disk);
	cr_assert_eq(scratch_n_files(), 1);
	disk = open_flatten("source", "out", BPULL_FORMAT_RAW);
	cr_assert_eq(bpull_job_start(disk, &slow, NULL), 0);
	bpull_engine_process(engine, &(struct bpull_event){ 0 }, 1);
	bpull_disk_close(disk);
	cr_assert_eq(scratch_n_files(), 1);
}

Test(flatten_api, a_file_that_appears_meanwhile_is_left_alone)
{
	struct bpull_disk *disk = open_flatten("source", "out", BPULL_FORMAT_RAW);
	struct bpull_error error;
	char byte;
	int fd;

	scratch_file("out", "x", 1);
	cr_assert_eq(run(disk, 0, false), BPULL_JOB_FAILED);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), -EINVAL, "a second job seemed complete");
	bpull_disk_close(disk);
	fd = open(scratch("out"), O_RDONLY);
	cr_assert_eq(read(fd, &byte, 1), 1);
	cr_assert_eq(byte, 'x');
	cr_assert_eq(lseek(fd, 0, SEEK_END), 1);
	close(fd);
	cr_assert_eq(scratch_n_files(), 2);
}

Test(flatten_api, a_directory_that_appears_meanwhile_is_no_name)
{
	struct bpull_create_options o = { .size = sizeof(o), .format = BPULL_FORMAT_QCOW2 };
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;

	appearing = scratch("new/");
	cr_assert_eq(bpull_flatten_open(engine, scratch("source"), NULL, scratch("new/"), &o, &disk,
					&error),
		     -ENOENT);
	cr_assert(strstr(error.message, "the directory it would lie in does not exist"), "%s",
		  error.message);
	cr_assert_eq(rmdir(scratch("new")), 0, "something was left in it");
}

Test(flatten_api, options_of_no_sense_are_refused)
{
	struct bpull_create_options o = { .size = sizeof(o), .backing_name = "x" };
	struct bpull_job_options based = { .size = sizeof(based), .base = "x" };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_flatten_open(engine, scratch("source"), NULL, scratch("out"), &o, &disk,
					NULL),
		     -EINVAL);
	o = (struct bpull_create_options){ .size = sizeof(o),
					   .cluster_size = 12345,
					   .format = BPULL_FORMAT_QCOW2 };
	cr_assert_eq(bpull_flatten_open(engine, scratch("source"), NULL, scratch("out"), &o, &disk,
					NULL),
		     -EINVAL);
	o.format = BPULL_FORMAT_UNKNOWN; /* the source's, which is raw */
	o.cluster_size = 4096;
	cr_assert_eq(bpull_flatten_open(engine, scratch("source"), NULL, scratch("out"), &o, &disk,
					NULL),
		     -EINVAL);
	cr_assert_eq(scratch_n_files(), 1);
	disk = open_flatten("source", "out", BPULL_FORMAT_QCOW2);
	cr_assert_eq(bpull_job_start(disk, &based, NULL), -EINVAL);
	bpull_disk_close(disk);
	cr_assert_eq(scratch_n_files(), 1);
}

/* A power cut might take the name away again: so FAILED, and it is not there now. */
Test(flatten_api, a_name_that_cannot_be_made_durable_goes)
{
	static const int errors[] = { EIO, ENOSPC, EROFS };

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct bpull_disk *disk = open_flatten("source", "out", BPULL_FORMAT_QCOW2);
		struct bpull_job_info info = { .size = sizeof(info) };

		dir_sync_errno = errors[i];
		cr_assert_eq(run(disk, 0, false), BPULL_JOB_FAILED);
		dir_sync_errno = 0;
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
		cr_assert_eq(info.error, -errors[i]);
		cr_assert_eq(scratch_n_files(), 1, "neither the name nor a temporary one is left");
		bpull_disk_close(disk);
		cr_assert_eq(scratch_n_files(), 1);
	}
	/* One that knows no fsync of directories is asked in another way. */
	dir_sync_errno = EINVAL;
	cr_assert_eq(run(open_flatten("source", "out", BPULL_FORMAT_QCOW2), 0, false),
		     BPULL_JOB_COMPLETED);
	cr_assert_eq(scratch_n_files(), 2);
}
