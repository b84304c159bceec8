/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/support/flat_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int flat_dir_fd;

const char *flat_below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

int flat_result(int rc)
{
	return rc < 0 ? -errno : 0;
}

int flat_opened(struct fuse_file_info *fi, int fd)
{
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

int flat_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	return flat_result(fi ? fstat((int)fi->fh, st)
			      : fstatat(flat_dir_fd, flat_below(path), st, AT_SYMLINK_NOFOLLOW));
}

int flat_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
		 struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	(void)path, (void)off, (void)fi, (void)flags;
	int fd = openat(flat_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return -errno;
	for (struct dirent *d; (d = readdir(dir));)
		fill(buf, d->d_name, NULL, 0, 0);
	closedir(dir);
	return 0;
}

int flat_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	close((int)fi->fh);
	return 0;
}

int flat_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	(void)path;
	ssize_t n = pread((int)fi->fh, buf, len, off);

	return n < 0 ? -errno : (int)n;
}

int flat_rename(const char *from, const char *to, unsigned flags)
{
	return flat_result((int)syscall(SYS_renameat2, flat_dir_fd, flat_below(from), flat_dir_fd,
					flat_below(to), flags));
}

int flat_unlink(const char *path)
{
	return flat_result(unlinkat(flat_dir_fd, flat_below(path), 0));
}

off_t flat_lseek(const char *path, off_t off, int whence, struct fuse_file_info *fi)
{
	(void)path;
	off_t at = lseek((int)fi->fh, off, whence);

	return at < 0 ? -errno : at;
}

int flat_statfs(const char *path, struct statvfs *st)
{
	(void)path;
	return flat_result(fstatvfs(flat_dir_fd, st));
}
