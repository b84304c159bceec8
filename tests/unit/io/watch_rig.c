/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See watch_rig.h. */
#include "tests/unit/io/watch_rig.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/file_watch.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"

struct file_watch *watched_by;
struct file *watched_file;
const char *watched_name;

struct file *watched_open_file(void)
{
	struct file_open how = { .name = watched_name, .watch = watched_by };
	struct err err = { 0 };
	struct file *out;

	cr_assert_eq(file_opener_posix()->open(file_opener_posix(), &how, &out, &err), 0, "%s",
		     err.message);
	return out;
}

void watched_let_time_pass(void)
{
	usleep(30000);
}

void watched_begin(void)
{
	static char bytes[FILE_LEN];

	scratch_make();
	memset(bytes, 'x', sizeof(bytes));
	watched_name = strdup(scratch_file("base", bytes, sizeof(bytes)));
	watched_by = file_watch_new();
	watched_let_time_pass();
	watched_file = watched_open_file();
	watched_let_time_pass();
}

void watched_end(void)
{
	file_close(watched_file);
	file_watch_free(watched_by);
	free((char *)watched_name);
	scratch_remove();
}

void watched_set_times(time_t when)
{
	struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };

	cr_assert_eq(utimensat(AT_FDCWD, watched_name, when ? times : NULL, 0), 0);
}

void watched_touch(void)
{
	int fd = open(watched_name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	cr_assert(fd >= 0);
	cr_assert_eq(futimens(fd, NULL), 0);
	close(fd);
	watched_let_time_pass();
}

void watched_write_byte(void)
{
	int fd = open(watched_name, O_WRONLY | O_CLOEXEC);

	cr_assert_eq(pwrite(fd, "y", 1, 4096), 1);
	close(fd);
	watched_let_time_pass();
}

int watched_write_mapped(void)
{
	int fd = open(watched_name, O_RDWR | O_CLOEXEC);
	char *bytes = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	cr_assert(bytes != MAP_FAILED);
	bytes[8192] = 'z';
	cr_assert_eq(msync(bytes, FILE_LEN, MS_SYNC), 0);
	munmap(bytes, FILE_LEN);
	watched_let_time_pass();
	return fd;
}

void watched_skip_without_watch(void)
{
	watched_touch();
	if (!file_changed(watched_file))
		return;
	watched_end();
	cr_skip("no inotify, or no local file system, here");
}

void watched_assert_touched(void)
{
	struct stat st;

	cr_assert(!file_changed(watched_file), "a touch was taken for a change");
	cr_assert_eq(stat(watched_name, &st), 0);
	cr_assert_eq(watched_file->mtime_ns,
		     (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
	watched_write_byte();
	cr_assert(file_changed(watched_file), "a write after it was not noticed");
}

void watched_assert_changed(void)
{
	cr_assert(file_changed(watched_file));
	watched_touch();
	cr_assert(file_changed(watched_file), "a later touch made it forget");
}
