/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A touch is no change, and all else is one: real files, changed by real calls,
 * in all the ways that leave a new time. Each test ends with a file that is
 * written to, so that a watch that sees nothing at all can't pass.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/file_watch.h"
#include "io/file/opener.h"
#include "tests/support/files/scratch.h"
#include "tests/unit/io/watch_rig.h"

TestSuite(file_watch, .init = watched_begin, .fini = watched_end);

/* ---- what others do ---- */

/* ---- touches ---- */

Test(file_watch, nothing_is_no_change)
{
	cr_assert(!file_changed(watched_file));
	cr_assert(!file_changed(watched_file));
	watched_write_byte();
	watched_assert_changed();
}

Test(file_watch, a_touch_is_no_change)
{
	watched_skip_without_watch();
	watched_touch();
	watched_assert_touched();
}

Test(file_watch, the_program_touch_is_no_change)
{
	watched_skip_without_watch();
	cr_assert_eq(scratch_run("touch", watched_name, NULL), 0);
	watched_assert_touched();
}

Test(file_watch, a_touch_by_name_is_no_change)
{
	watched_skip_without_watch();
	watched_set_times(0);
	watched_assert_touched();
}

Test(file_watch, old_and_future_times_are_no_change)
{
	static const time_t times[] = { 86400, 1000000000, 4000000000 };

	watched_skip_without_watch();
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		watched_set_times(times[i]);
		cr_assert(!file_changed(watched_file), "time %ld", (long)times[i]);
	}
	cr_assert_eq(scratch_run("touch", "-d", "1999-12-31", watched_name, NULL), 0);
	cr_assert(!file_changed(watched_file));
	cr_assert_eq(scratch_run("touch", "-d", "now", watched_name, NULL), 0);
	watched_assert_touched();
}

Test(file_watch, many_touches_are_no_change)
{
	watched_skip_without_watch();
	for (int i = 0; i < 300; i++) {
		watched_set_times(i % 3 ? 0 : 1000 + i);
		if (i % 50 == 0)
			cr_assert(!file_changed(watched_file), "touch %d", i);
	}
	watched_assert_touched();
}

Test(file_watch, touches_beside_the_looks_are_no_change)
{
	pid_t pid;
	int status;

	watched_skip_without_watch();
	pid = fork();
	if (!pid) {
		for (int i = 0; i < 20000; i++)
			utimensat(AT_FDCWD, watched_name, NULL, 0);
		_exit(0);
	}
	while (!waitpid(pid, &status, WNOHANG))
		cr_assert(!file_changed(watched_file));
	watched_assert_touched();
}

Test(file_watch, mode_links_and_names_are_no_change)
{
	cr_assert_eq(chmod(watched_name, 0640), 0);
	cr_assert(!file_changed(watched_file));
	cr_assert_eq(link(watched_name, scratch("other")), 0);
	cr_assert(!file_changed(watched_file));
	cr_assert_eq(rename(scratch("other"), scratch("another")), 0);
	cr_assert_eq(unlink(scratch("another")), 0);
	cr_assert(!file_changed(watched_file));
	watched_write_byte();
	watched_assert_changed();
}

/* The opened file stays what it was, whatever has its name. */
Test(file_watch, a_file_renamed_over_it_is_no_change)
{
	char byte;

	scratch_file("new", "other content", 0);
	cr_assert_eq(rename(scratch("new"), watched_name), 0);
	watched_write_byte();
	cr_assert(!file_changed(watched_file));
	cr_assert_eq(file_read(watched_file, &byte, 1, 4096), 0);
	cr_assert_eq(byte, 'x');
}

/* ---- changes ---- */

Test(file_watch, a_write_is_a_change)
{
	watched_write_byte();
	watched_assert_changed();
}

Test(file_watch, a_write_whose_time_was_set_back_is_a_change)
{
	struct stat before;

	watched_skip_without_watch();
	cr_assert_eq(stat(watched_name, &before), 0);
	watched_write_byte();
	struct timespec times[2] = { before.st_atim, before.st_mtim };
	cr_assert_eq(utimensat(AT_FDCWD, watched_name, times, 0), 0);
	watched_assert_changed();
}

Test(file_watch, write_then_touch_is_a_change)
{
	watched_write_byte();
	watched_touch();
	watched_assert_changed();
}

Test(file_watch, touch_then_write_is_a_change)
{
	watched_skip_without_watch();
	watched_touch();
	watched_write_byte();
	watched_assert_changed();
}

Test(file_watch, a_new_length_is_a_change)
{
	cr_assert_eq(truncate(watched_name, FILE_LEN / 2), 0);
	cr_assert(file_changed(watched_file));
	cr_assert_eq(truncate(watched_name, FILE_LEN), 0);
	watched_assert_changed();
}

Test(file_watch, a_punched_hole_is_a_change)
{
	int fd = open(watched_name, O_WRONLY | O_CLOEXEC);

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)) {
		close(fd);
		watched_end();
		cr_skip("no holes are punched here");
	}
	close(fd);
	watched_touch();
	watched_assert_changed();
}

Test(file_watch, a_write_through_a_mapping_is_a_change)
{
	close(watched_write_mapped());
	watched_assert_changed();
}

Test(file_watch, a_mapping_and_touches_around_it_are_a_change)
{
	watched_skip_without_watch();
	watched_touch();
	close(watched_write_mapped());
	watched_touch();
	watched_assert_changed();
}

Test(file_watch, a_mapping_that_stays_open_and_a_new_mode_are_a_change)
{
	int fd;

	watched_skip_without_watch();
	fd = watched_write_mapped();
	cr_assert_eq(chmod(watched_name, 0640), 0);
	cr_assert(file_changed(watched_file));
	close(fd);
	watched_assert_changed();
}

/* What was noted while the time stayed explains nothing later. */
Test(file_watch, a_new_mode_and_later_a_mapping_are_a_change)
{
	int fd;

	cr_assert_eq(chmod(watched_name, 0640), 0);
	cr_assert(!file_changed(watched_file));
	fd = watched_write_mapped();
	cr_assert(file_changed(watched_file));
	close(fd);
	watched_assert_changed();
}

/* ---- the watch itself ---- */

Test(file_watch, notes_that_were_lost_are_a_change_when_the_time_is_new)
{
	const char *other = scratch_file("other", "x", 1);
	struct file *first = watched_file;

	watched_skip_without_watch();
	free((char *)watched_name);
	watched_name = strdup(other);
	watched_file = watched_open_file();
	/* More than the kernel keeps, 16384 by default: notes of two files are not merged. */
	for (int i = 0; i < 40000; i++)
		utimensat(AT_FDCWD, i % 2 ? first->name : watched_name, NULL, 0);
	cr_assert(file_changed(first));
	cr_assert(file_changed(watched_file));
	file_close(first);
}

Test(file_watch, without_a_watch_each_new_time_is_a_change)
{
	file_close(watched_file);
	struct file_watch *kept = watched_by;
	watched_by = NULL;
	watched_file = watched_open_file();
	watched_by = kept;
	cr_assert(!file_changed(watched_file));
	watched_touch();
	cr_assert(file_changed(watched_file));
}

/* One inode has one watch of the kernel's; closing one file must not end the other's. */
Test(file_watch, closing_one_file_keeps_the_watch_of_its_twin)
{
	struct file *second = watched_open_file();

	watched_skip_without_watch();
	watched_touch();
	cr_assert(!file_changed(second));
	watched_write_byte();
	cr_assert(file_changed(second));
	file_close(second);
	second = watched_open_file();
	watched_touch();
	cr_assert(!file_changed(second), "it was opened after the write");
	cr_assert(file_changed(watched_file));
	file_close(watched_file);
	watched_file = watched_open_file();
	file_close(second);
	watched_touch();
	watched_assert_touched();
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

	watched_skip_without_watch();
	n_before = count_descriptors();
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char other[32];

		snprintf(other, sizeof(other), "file-%zu", i);
		free((char *)watched_name);
		watched_name = strdup(scratch_file(other, "x", 1));
		files[i] = watched_open_file();
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

	watched_skip_without_watch();
	cr_assert_eq(stat(watched_name, &st), 0);
	cr_assert_eq(unlink(watched_name), 0);
	file_close(watched_file);
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
	watched_file = watched_open_file();
	watched_touch();
	watched_assert_touched();
}
