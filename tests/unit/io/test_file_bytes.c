/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The calls on a file's bytes: at its edges, what is at hand, and a new file. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "io/now.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"
#include "tests/unit/io/file_rig.h"

Test(file, a_read_past_the_end_is_damage)
{
	const char *path = scratch_file("disk", "0123456789", 10);
	struct file *file = must_open(OPEN(.name = path));
	char buf[8];

	cr_assert_eq(file_read(file, buf, 8, 2), 0);
	cr_assert_eq(memcmp(buf, "23456789", 8), 0);
	cr_assert_eq(file_read(file, buf, 8, 3), -EUCLEAN);
	cr_assert_eq(file_read(file, buf, 8, 100), -EUCLEAN);
	cr_assert_eq(file_read(file, buf, 0, 10), 0);
	cr_assert_eq(file_read(file, buf, 8, UINT64_MAX), -EUCLEAN);
	cr_assert_eq(file_read(file, buf, 8, UINT64_MAX - 7), -EUCLEAN);
	cr_assert_eq(file_read(file, buf, 8, INT64_MAX), -EUCLEAN);

	memset(buf, 'x', 8);
	cr_assert_eq(file_read_padded(file, buf, 8, 7), 0);
	cr_assert_eq(memcmp(buf, "789\0\0\0\0\0", 8), 0);
	memset(buf, 'x', 8);
	cr_assert_eq(file_read_padded(file, buf, 8, 1 << 20), 0);
	cr_assert_eq(memcmp(buf, "\0\0\0\0\0\0\0\0", 8), 0);
	cr_assert_eq(file_read_padded(file, buf, 8, UINT64_MAX - 3), -EINVAL);
	file_close(file);
}

/* Where the file system can't say so (or the call is forbidden), nothing is at hand, for good. */
Test(file, what_is_at_hand_is_read_now)
{
	struct file *file = must_open(OPEN(.name = scratch_file("disk", "hello, world", 12)));
	char a[4] = "", b[9] = "";
	struct iovec iov[] = { { a, 4 }, { b, 8 } };
	ssize_t got = file_read_now(file, iov, 2, 0);

	cr_assert_eq(got, file->now.no_reads ? 0 : 12, "%zd", got);
	if (got) {
		cr_assert_arr_eq(a, "hell", 4);
		cr_assert_str_eq(b, "o, world");
		cr_assert_eq(file_read_now(file, iov, 2, 7), 5);
		cr_assert_eq(file_read_now(file, iov, 2, 12), 0);
		cr_assert_not(file->now.no_reads);
	}
	cr_assert_eq(file_read_now(file, iov, 2, UINT64_MAX), 0);
	file->io_align = 512; /* as a direct one, which would wait */
	cr_assert_eq(file_read_now(file, iov, 2, 0), 0);
	cr_assert(file->now.no_reads);
	file_close(file);
}

Test(file, a_write_past_the_largest_offset_is_refused)
{
	const char *path = scratch_file("disk", "0123456789", 10);
	struct file *file = must_open(OPEN(.name = path, .write = true));
	char buf[16];

	cr_assert_eq(file_write(file, "ab", 2, 9), 0);
	cr_assert_eq(file->len, 11);
	cr_assert_eq(file_write(file, "c", 1, 0), 0);
	cr_assert_eq(file->len, 11);
	cr_assert_eq(file_write(file, "x", 1, UINT64_MAX), -EFBIG);
	cr_assert_eq(file_write(file, "x", 1, INT64_MAX), -EFBIG);
	cr_assert_eq(file_sync(file), 0);
	cr_assert_eq(file_read(file, buf, 11, 0), 0);
	cr_assert_eq(memcmp(buf, "c12345678ab", 11), 0);
	cr_assert_eq(file_truncate(file, 4), 0);
	cr_assert_eq(file->len, 4);
	cr_assert_eq(file_truncate(file, UINT64_MAX), -EFBIG);
	cr_assert_eq(file_read(file, buf, 5, 0), -EUCLEAN);
	file_close(file);

	file = must_open(OPEN(.name = path));
	cr_assert_eq(file_write(file, "x", 1, 0), -EBADF);
	cr_assert_eq(file_truncate(file, 0), -EBADF);
	cr_assert_eq(file->len, 4);
	file_close(file);
	file_close(NULL);
}

Test(file, create_makes_a_new_file_or_none)
{
	struct file_opener *opener = file_opener_posix();
	const char *path = scratch("new");
	struct file *file;

	cr_assert_eq(opener->create(opener, path, &file, &open_err), 0, "%s", open_err.message);
	cr_assert(file->writable);
	cr_assert_eq(file->len, 0);
	cr_assert_str_eq(file->real_name, path);
	cr_assert_eq(file_write(file, "kept", 4, 0), 0);
	file_close(file);
	cr_assert_eq(opener->create(opener, path, &file, &open_err), -EEXIST);
	cr_assert(strstr(open_err.message, path));
	cr_assert_eq(symlink("elsewhere", scratch("link")), 0);
	cr_assert_eq(opener->create(opener, scratch("link"), &file, &open_err), -EEXIST);
	cr_assert_eq(opener->create(opener, scratch("no/dir"), &file, &open_err), -ENOENT);
	cr_assert(strstr(open_err.message, "directory"));

	struct stat st;
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_size, 4);
}
