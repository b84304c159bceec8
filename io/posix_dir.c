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
 * of the empty one; it is looked at just before. Opening the directory for
 * reading was rejected as a need: one may be written and searched only.
 */
#include "io/posix_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "io/posix_file.h"

const char *posix_last(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The file system, or a filter of system calls, has no such call; another may do. */
static bool posix_dir_refused(int code)
{
	switch (-code) {
	case EINVAL:
	case ENOSYS:
	case EPERM:
	case EACCES:
	case EOPNOTSUPP:
	case EMLINK:
	case EXDEV: return true;
	default: return false;
	}
}

static int posix_dir_open_fd(const char *name, int flags)
{
	unsigned n_tries = 0;
	int fd;

	do
		fd = open(name, flags | O_DIRECTORY | O_CLOEXEC);
	while (fd < 0 && posix_again(&n_tries));
	return fd < 0 ? posix_error() : fd;
}

/* Names can be made in there, but neither changed nor removed. */
static bool posix_dir_is_append_only(int fd)
{
	struct statx sx;

	return !statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx) &&
	       sx.stx_attributes & STATX_ATTR_APPEND;
}

int posix_dir_open(struct posix_dir *dir, const char *path, struct err *err)
{
	const char *last = posix_last(path);
	autofree char *name = last == path ? strdup(".") : strndup(path, last - path);
	char shown[512];

	err_escape(path, strlen(path), shown, sizeof(shown));
	*dir = (struct posix_dir){ .fd = -1, .can_sync = true };
	if (!name)
		return err_set(err, -ENOMEM, "out of memory");
	dir->fd = posix_dir_open_fd(name, O_RDONLY);
	if (dir->fd == -EACCES || dir->fd == -EPERM) {
		dir->can_sync = false;
		dir->fd = posix_dir_open_fd(name, O_PATH);
	}
	if (dir->fd < 0)
		return err_errno(err, dir->fd, "cannot open the directory of '%s'", shown);
	if (posix_dir_is_append_only(dir->fd))
		return err_set(err, -EACCES,
			       "cannot create '%s': its directory is append-only (see lsattr), so "
			       "a finished file can't get its name there: choose another one",
			       shown);
	return 0;
}

bool posix_dir_has(const struct posix_dir *dir, const char *name)
{
	struct stat st;
	return !fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW);
}

/* ---- the ways ---- */

static int posix_dir_by_rename(const struct posix_dir *dir, const char *from, const char *to)
{
	return renameat2(dir->fd, from, dir->fd, to, RENAME_NOREPLACE) ? -errno : 0;
}

static int posix_dir_by_link(const struct posix_dir *dir, const char *from, const char *to)
{
	if (linkat(dir->fd, from, dir->fd, to, 0))
		return -errno;
	unlinkat(dir->fd, from, 0); /* else it stays, as after a crash */
	return 0;
}

static bool posix_dir_is_empty_file(const struct posix_dir *dir, const char *name)
{
	struct stat st;

	return !fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
	       !st.st_size && st.st_nlink <= 1;
}

/* mknod() instead of open(): it opens nothing, which a sandbox may forbid. */
static int posix_dir_by_place(const struct posix_dir *dir, const char *from, const char *to)
{
	int rc;

	if (mknodat(dir->fd, to, S_IFREG | 0600, 0))
		return -errno;
	if (!posix_dir_is_empty_file(dir, to))
		return -EEXIST;
	if (!renameat(dir->fd, from, dir->fd, to))
		return 0;
	rc = -errno;
	if (posix_dir_is_empty_file(dir, to))
		unlinkat(dir->fd, to, 0);
	return rc;
}

static int (*const posix_dir_ways[])(const struct posix_dir *dir, const char *from,
				     const char *to) = {
	posix_dir_by_rename,
	posix_dir_by_link,
	posix_dir_by_place,
};

#define N_WAYS (sizeof(posix_dir_ways) / sizeof(posix_dir_ways[0]))

static bool posix_dir_is_file(const struct posix_dir *dir, const char *name, int fd)
{
	struct stat st, wanted;

	return !fstat(fd, &wanted) && !fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) &&
	       st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino;
}

/* A call that failed may have been obeyed: of a server the first answer may be lost, and the second
 * one is that the name exists. */
static int posix_dir_try(const struct posix_dir *dir, int fd, const char *from, const char *to)
{
	unsigned n_tries = 0;
	int rc;

	do
		rc = posix_dir_ways[dir->way](dir, from, to);
	while (rc && (errno = -rc, posix_again(&n_tries)));
	if (!rc || !posix_dir_is_file(dir, to, fd))
		return rc;
	unlinkat(dir->fd, from, 0);
	return 0;
}

int posix_dir_rename(struct posix_dir *dir, int fd, const char *from, const char *to)
{
	int rc = posix_dir_try(dir, fd, from, to);

	while (rc && posix_dir_refused(rc) && dir->way + 1 < N_WAYS) {
		dir->way++;
		rc = posix_dir_try(dir, fd, from, to);
	}
	return rc == -EINTR || rc == -EAGAIN ? -EIO : rc;
}

/* ---- durable ---- */

static int posix_dir_call(int (*call)(int fd), int fd)
{
	unsigned n_tries = 0;

	while (call(fd))
		if (!posix_again(&n_tries))
			return posix_error();
	return 0;
}

int posix_dir_sync(const struct posix_dir *dir, int fd)
{
	int rc = dir->can_sync ? posix_dir_call(fsync, dir->fd) : -EINVAL, last;

	if (!posix_dir_refused(rc))
		return rc;
	/* CIFS, vboxsf and some of FUSE have no fsync of a directory. The whole file system, or the
	 * file that was renamed, is the next best thing to ask for. An error of the first may be
	 * that of another's file, where the second has none. */
	rc = posix_dir_call(syncfs, fd);
	last = rc ? posix_dir_call(fsync, fd) : 0;
	if (!posix_dir_refused(last))
		return last;
	return posix_dir_refused(rc) ? 0 : rc;
}

/* ---- the mode ---- */

/* As the kernel gives an access list: a version, then entries. */
struct posix_acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[64];
};

#define ACL_VERSION_2 2
#define ACL_TAG_GROUP 0x04
#define ACL_TAG_MASK  0x10

int posix_mode(int fd, mode_t *mode)
{
	struct posix_acl acl;
	struct stat st;
	unsigned group = 0, mask = 7;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	*mode = st.st_mode & 0777;
	n = fgetxattr(fd, "system.posix_acl_access", &acl, sizeof(acl));
	if (n < 0 && errno != ERANGE)
		return 0;
	*mode &= ~(mode_t)0070; /* until it is known */
	if (n < (ssize_t)sizeof(acl.version) || le32toh(acl.version) != ACL_VERSION_2)
		return 0;
	for (size_t i = 0; i < ((size_t)n - sizeof(acl.version)) / sizeof(acl.entries[0]); i++) {
		if (le16toh(acl.entries[i].tag) == ACL_TAG_GROUP)
			group = le16toh(acl.entries[i].perm) & 7;
		if (le16toh(acl.entries[i].tag) == ACL_TAG_MASK)
			mask = le16toh(acl.entries[i].perm) & 7;
	}
	*mode |= (group & mask) << 3;
	return 0;
}
