/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A finished file gets its name, and no other file is lost by that. There are
 * three ways, as no file system has them all:
 *
 *   renameat2(RENAME_NOREPLACE)  not NFS, old kernels, some of FUSE
 *   link, unlink                 not FAT, exFAT, some of FUSE
 *   an empty file of that name is created, where there is none (as by O_EXCL),
 *   and the finished one renamed over it
 *
 * Between the two steps of the last one another process may put a file in place
 * of the empty one; it is looked at just before.
 */
#include "io/posix/rename.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/libc.h"
#include "io/posix/dir.h"
#include "io/posix/file.h"

static int by_rename(const struct posix_dir *dir, const char *from, const char *to)
{
	return libc_renameat2(dir->fd, from, dir->fd, to, RENAME_NOREPLACE) ? -errno : 0;
}

static int by_link(const struct posix_dir *dir, const char *from, const char *to)
{
	if (linkat(dir->fd, from, dir->fd, to, 0))
		return -errno;
	unlinkat(dir->fd, from, 0); /* else it stays, as after a crash */
	return 0;
}

static bool is_empty_file(const struct posix_dir *dir, const char *name)
{
	struct stat st;

	return !fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
	       !st.st_size && st.st_nlink <= 1;
}

/* mknod() instead of open(): it opens nothing, which a sandbox may forbid. */
static int by_place(const struct posix_dir *dir, const char *from, const char *to)
{
	int rc;

	if (mknodat(dir->fd, to, S_IFREG | 0600, 0))
		return -errno;
	if (!is_empty_file(dir, to))
		return -EEXIST;
	if (!renameat(dir->fd, from, dir->fd, to))
		return 0;
	rc = -errno;
	if (is_empty_file(dir, to))
		unlinkat(dir->fd, to, 0);
	return rc;
}

static int (*const ways[])(const struct posix_dir *dir, const char *from, const char *to) = {
	by_rename,
	by_link,
	by_place,
};

static bool is_this_file(const struct posix_dir *dir, const char *name, int fd)
{
	struct stat st, wanted;

	return !fstat(fd, &wanted) && !fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) &&
	       st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino;
}

/* A call that failed may have been obeyed: of a server the first answer may be lost, and the second
 * one is that the name exists. */
static int try_way(const struct posix_dir *dir, int fd, const char *from, const char *to)
{
	unsigned n_tries = 0;
	int rc;

	do
		rc = ways[dir->way](dir, from, to);
	while (rc && (errno = -rc, posix_again(&n_tries)));
	if (!rc || !is_this_file(dir, to, fd))
		return rc;
	unlinkat(dir->fd, from, 0);
	return 0;
}

int posix_rename(struct posix_dir *dir, int fd, const char *from, const char *to)
{
	int rc = try_way(dir, fd, from, to);

	while (rc && posix_is_refused(rc) && dir->way + 1 < ARRAY_LEN(ways)) {
		dir->way++;
		rc = try_way(dir, fd, from, to);
	}
	return rc == -EINTR || rc == -EAGAIN ? -EIO : rc;
}
