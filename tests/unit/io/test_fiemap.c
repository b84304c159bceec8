/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An overlayfs over a file system that calls data a hole (SEEK_DATA) and tells the
 * truth to FIEMAP, but not at once: the calls are the C library's, wrapped.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"

#define FILE_LEN  (1 * MiB)
#define EXTENT    (4 * KiB)
#define OVERLAYFS 0x794c7630

TestSuite(fiemap, .init = scratch_make, .fini = scratch_remove);

static unsigned n_unwritten; /* extents in front of the one that is written */
static bool has_written;

off_t __wrap_lseek64(int fd, off_t off, int whence);
int __wrap_fstatfs64(int fd, struct statfs *fs);
int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_statx(int fd, const char *name, int flags, unsigned mask, struct statx *sx);
int __real_statx(int fd, const char *name, int flags, unsigned mask, struct statx *sx);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* All of it is a hole. */
off_t __wrap_lseek64(int fd, off_t off, int whence)
{
	if (whence == SEEK_HOLE)
		return off;
	errno = ENXIO;
	return -1;
}

int __wrap_fstatfs64(int fd, struct statfs *fs)
{
	int rc = __real_fstatfs64(fd, fs);

	fs->f_type = OVERLAYFS;
	return rc;
}

int __wrap_statx(int fd, const char *name, int flags, unsigned mask, struct statx *sx)
{
	int rc = __real_statx(fd, name, flags, mask, sx);

	sx->stx_attributes_mask |= STATX_ATTR_NODUMP;
	return rc;
}

/* Extent i lies at i * EXTENT; as many as there is room for. */
static void fill_map(struct fiemap *map)
{
	unsigned n_all = n_unwritten + has_written, n = 0;

	for (unsigned i = (unsigned)(map->fm_start / EXTENT); i < n_all && n < map->fm_extent_count;
	     i++)
		map->fm_extents[n++] = (struct fiemap_extent){
			.fe_logical = i * EXTENT,
			.fe_length = EXTENT,
			.fe_flags = i < n_unwritten ? FIEMAP_EXTENT_UNWRITTEN : 0,
		};
	map->fm_mapped_extents = n;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	va_start(args, request);
	if (request == FS_IOC_FIEMAP)
		fill_map(va_arg(args, struct fiemap *));
	va_end(args);
	return 0;
}

static bool is_hole(void)
{
	struct file_opener *opener = file_opener_posix();
	struct file_status status;
	struct err err = { 0 };
	struct file *file;
	int fd = open(scratch("base"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && !ftruncate(fd, FILE_LEN));
	close(fd);
	cr_assert_eq(
		opener->open(opener, &(struct file_open){ .name = scratch("base") }, &file, &err),
		0, "%s", err.message);
	cr_assert(file->trust_holes);
	cr_assert_eq(file_status(file, 0, &status), 0);
	file_close(file);
	return status.is_hole;
}

/* However many unwritten extents lie in front of the data, and fill one answer or more. */
Test(fiemap, all_extents_of_a_hole_are_asked_for)
{
	for (n_unwritten = 0; n_unwritten < 70; n_unwritten++) {
		has_written = false;
		cr_assert(is_hole(), "%u unwritten extents", n_unwritten);
		has_written = true;
		cr_assert_not(is_hole(), "data behind %u unwritten extents", n_unwritten);
	}
}
