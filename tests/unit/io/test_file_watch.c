/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A touch is no change, and all else is one: real files, changed by real calls,
 * in all the ways that leave a new time. Each test ends with a file that is
 * written to, so that a watch that sees nothing at all can't pass.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/file_watch.h"
#include "io/file/opener.h"
#include "tests/support/files/scratch.h"

#define FILE_LEN (64 * KiB)

static struct file_watch *watch;
static struct file *file;
static const char *name;

static struct file *open_file(void)
{
	struct file_open how = { .name = name, .watch = watch };
	struct err err = { 0 };
	struct file *out;

	cr_assert_eq(file_opener_posix()->open(file_opener_posix(), &how, &out, &err), 0, "%s",
		     err.message);
	return out;
}

/* Inodes' times move on in steps of some milliseconds: what follows is to have a later one. */
static void let_time_pass(void)
{
	usleep(30000);
}

static void begin(void)
{
	static char bytes[FILE_LEN];

	scratch_make();
	memset(bytes, 'x', sizeof(bytes));
	name = strdup(scratch_file("base", bytes, sizeof(bytes)));
	watch = file_watch_new();
	let_time_pass();
	file = open_file();
	let_time_pass();
}

static void end(void)
{
	file_close(file);
	file_watch_free(watch);
	free((char *)name);
	scratch_remove();
}

TestSuite(file_watch, .init = begin, .fini = end);

/* ---- what others do ---- */

static void set_times(time_t when)
{
	struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };

	cr_assert_eq(utimensat(AT_FDCWD, name, when ? times : NULL, 0), 0);
}

/* As touch(1) does it: through a descriptor that may write. */
static void touch(void)
{
	int fd = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	cr_assert(fd >= 0);
	cr_assert_eq(futimens(fd, NULL), 0);
	close(fd);
	let_time_pass();
}

static void write_byte(void)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	cr_assert_eq(pwrite(fd, "y", 1, 4096), 1);
	close(fd);
	let_time_pass();
}

/* The mapping, of a descriptor that is still open. */
static int write_mapped(void)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);
	char *bytes = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	cr_assert(bytes != MAP_FAILED);
	bytes[8192] = 'z';
	cr_assert_eq(msync(bytes, FILE_LEN, MS_SYNC), 0);
	munmap(bytes, FILE_LEN);
	let_time_pass();
	return fd;
}

static void skip_without_watch(void)
{
	touch();
	if (!file_changed(file))
		return;
	end();
	cr_skip("no inotify, or no local file system, here");
}

static void assert_touched(void)
{
	struct stat st;

	cr_assert(!file_changed(file), "a touch was taken for a change");
	cr_assert_eq(stat(name, &st), 0);
	cr_assert_eq(file->mtime_ns, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
	write_byte();
	cr_assert(file_changed(file), "a write after it was not noticed");
}

static void assert_changed(void)
{
	cr_assert(file_changed(file));
	touch();
	cr_assert(file_changed(file), "a later touch made it forget");
}

/* ---- touches ---- */

Test(file_watch, nothing_is_no_change)
{
	cr_assert(!file_changed(file));
	cr_assert(!file_changed(file));
	write_byte();
	assert_changed();
}

Test(file_watch, a_touch_is_no_change)
{
	skip_without_watch();
	touch();
	assert_touched();
}

Test(file_watch, the_program_touch_is_no_change)
{
	skip_without_watch();
	cr_assert_eq(scratch_run("touch", name, NULL), 0);
	assert_touched();
}

Test(file_watch, a_touch_by_name_is_no_change)
{
	skip_without_watch();
	set_times(0);
	assert_touched();
}

Test(file_watch, old_and_future_times_are_no_change)
{
	static const time_t times[] = { 86400, 1000000000, 4000000000 };

	skip_without_watch();
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		set_times(times[i]);
		cr_assert(!file_changed(file), "time %ld", (long)times[i]);
	}
	cr_assert_eq(scratch_run("touch", "-d", "1999-12-31", name, NULL), 0);
	cr_assert(!file_changed(file));
	cr_assert_eq(scratch_run("touch", "-d", "now", name, NULL), 0);
	assert_touched();
}

Test(file_watch, many_touches_are_no_change)
{
	skip_without_watch();
	for (int i = 0; i < 300; i++) {
		set_times(i % 3 ? 0 : 1000 + i);
		if (i % 50 == 0)
			cr_assert(!file_changed(file), "touch %d", i);
	}
	assert_touched();
}

Test(file_watch, touches_beside_the_looks_are_no_change)
{
	pid_t pid;
	int status;

	skip_without_watch();
	pid = fork();
	if (!pid) {
		for (int i = 0; i < 20000; i++)
			utimensat(AT_FDCWD, name, NULL, 0);
		_exit(0);
	}
	while (!waitpid(pid, &status, WNOHANG))
		cr_assert(!file_changed(file));
	assert_touched();
}

Test(file_watch, mode_links_and_names_are_no_change)
{
	cr_assert_eq(chmod(name, 0640), 0);
	cr_assert(!file_changed(file));
	cr_assert_eq(link(name, scratch("other")), 0);
	cr_assert(!file_changed(file));
	cr_assert_eq(rename(scratch("other"), scratch("another")), 0);
	cr_assert_eq(unlink(scratch("another")), 0);
	cr_assert(!file_changed(file));
	write_byte();
	assert_changed();
}

/* The opened file stays what it was, whatever has its name. */
Test(file_watch, a_file_renamed_over_it_is_no_change)
{
	char byte;

	scratch_file("new", "other content", 0);
	cr_assert_eq(rename(scratch("new"), name), 0);
	write_byte();
	cr_assert(!file_changed(file));
	cr_assert_eq(file_read(file, &byte, 1, 4096), 0);
	cr_assert_eq(byte, 'x');
}

/* ---- changes ---- */

Test(file_watch, a_write_is_a_change)
{
	write_byte();
	assert_changed();
}

Test(file_watch, a_write_whose_time_was_set_back_is_a_change)
{
	struct stat before;

	skip_without_watch();
	cr_assert_eq(stat(name, &before), 0);
	write_byte();
	struct timespec times[2] = { before.st_atim, before.st_mtim };
	cr_assert_eq(utimensat(AT_FDCWD, name, times, 0), 0);
	assert_changed();
}

Test(file_watch, write_then_touch_is_a_change)
{
	write_byte();
	touch();
	assert_changed();
}

Test(file_watch, touch_then_write_is_a_change)
{
	skip_without_watch();
	touch();
	write_byte();
	assert_changed();
}

Test(file_watch, a_new_length_is_a_change)
{
	cr_assert_eq(truncate(name, FILE_LEN / 2), 0);
	cr_assert(file_changed(file));
	cr_assert_eq(truncate(name, FILE_LEN), 0);
	assert_changed();
}

Test(file_watch, a_punched_hole_is_a_change)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)) {
		close(fd);
		end();
		cr_skip("no holes are punched here");
	}
	close(fd);
	touch();
	assert_changed();
}

Test(file_watch, a_write_through_a_mapping_is_a_change)
{
	close(write_mapped());
	assert_changed();
}

Test(file_watch, a_mapping_and_touches_around_it_are_a_change)
{
	skip_without_watch();
	touch();
	close(write_mapped());
	touch();
	assert_changed();
}

Test(file_watch, a_mapping_that_stays_open_and_a_new_mode_are_a_change)
{
	int fd;

	skip_without_watch();
	fd = write_mapped();
	cr_assert_eq(chmod(name, 0640), 0);
	cr_assert(file_changed(file));
	close(fd);
	assert_changed();
}

/* What was noted while the time stayed explains nothing later. */
Test(file_watch, a_new_mode_and_later_a_mapping_are_a_change)
{
	int fd;

	cr_assert_eq(chmod(name, 0640), 0);
	cr_assert(!file_changed(file));
	fd = write_mapped();
	cr_assert(file_changed(file));
	close(fd);
	assert_changed();
}

/* ---- the watch itself ---- */

Test(file_watch, notes_that_were_lost_are_a_change_when_the_time_is_new)
{
	const char *other = scratch_file("other", "x", 1);
	struct file *first = file;

	skip_without_watch();
	free((char *)name);
	name = strdup(other);
	file = open_file();
	/* More than the kernel keeps, 16384 by default: notes of two files are not merged. */
	for (int i = 0; i < 40000; i++)
		utimensat(AT_FDCWD, i % 2 ? first->name : name, NULL, 0);
	cr_assert(file_changed(first));
	cr_assert(file_changed(file));
	file_close(first);
}

Test(file_watch, without_a_watch_each_new_time_is_a_change)
{
	file_close(file);
	struct file_watch *kept = watch;
	watch = NULL;
	file = open_file();
	watch = kept;
	cr_assert(!file_changed(file));
	touch();
	cr_assert(file_changed(file));
}

/* One inode has one watch of the kernel's; closing one file must not end the other's. */
Test(file_watch, two_files_of_one_inode)
{
	struct file *second = open_file();

	skip_without_watch();
	touch();
	cr_assert(!file_changed(second));
	write_byte();
	cr_assert(file_changed(second));
	file_close(second);
	second = open_file();
	touch();
	cr_assert(!file_changed(second), "it was opened after the write");
	cr_assert(file_changed(file));
	file_close(file);
	file = open_file();
	file_close(second);
	touch();
	assert_touched();
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	cr_assert(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

Test(file_watch, many_files_take_one_instance_and_no_descriptor_is_left)
{
	int n_before;
	struct file *files[200];

	skip_without_watch();
	n_before = count_descriptors();
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char other[32];

		snprintf(other, sizeof(other), "file-%zu", i);
		free((char *)name);
		name = strdup(scratch_file(other, "x", 1));
		files[i] = open_file();
	}
	cr_assert_eq(count_descriptors(), n_before + (int)ARRAY_LEN(files));
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		file_close(files[i]);
	cr_assert_eq(count_descriptors(), n_before);
}

/* A deleted base gives its space back when it is closed, while the engine goes on. */
Test(file_watch, a_closed_file_is_not_kept)
{
	struct stat st;
	FILE *info;
	char line[256], path[64];
	int n_watches = 0;

	skip_without_watch();
	cr_assert_eq(stat(name, &st), 0);
	cr_assert_eq(unlink(name), 0);
	file_close(file);
	for (int fd = 3; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		info = fopen(path, "re");
		while (info && fgets(line, sizeof(line), info))
			n_watches += !strncmp(line, "inotify wd:", 11);
		if (info)
			fclose(info);
	}
	cr_assert_eq(n_watches, 0, "%d watches are left", n_watches);
	scratch_file("base", "new", 0);
	file = open_file();
	touch();
	assert_touched();
}
