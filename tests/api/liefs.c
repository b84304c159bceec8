/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A file system whose reads are right and whose word on holes is not.
 *
 *   liefs LENGTH DIRECTORY MOUNTPOINT      (in the foreground, until unmounted)
 *
 * It shows the files of one flat directory, to be read only, and calls all
 * behind the first LENGTH bytes of each a hole, as servers behind FUSE, NFS and
 * 9p were seen to do. The kernel's own FUSE passes that on.
 */
#define FUSE_USE_VERSION 31
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int dir_fd;
static off_t data_len; /* what it admits to */

static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int lie_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (fstatat(dir_fd, below(path), st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (S_ISREG(st->st_mode))
		st->st_blocks = data_len / 512;
	return 0;
}

static int lie_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
		       struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int fd = openat(dir_fd, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	(void)off, (void)fi, (void)flags;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		fill(buf, entry->d_name, NULL, 0, 0);
	closedir(dir);
	return 0;
}

static int lie_open(const char *path, struct fuse_file_info *fi)
{
	int fd = openat(dir_fd, below(path), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

static int lie_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	ssize_t n = pread((int)fi->fh, buf, len, off);

	(void)path;
	return n < 0 ? -errno : (int)n;
}

static int lie_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return close((int)fi->fh) ? -errno : 0;
}

static off_t lie_lseek(const char *path, off_t off, int whence, struct fuse_file_info *fi)
{
	(void)path, (void)fi;
	if (whence == SEEK_DATA)
		return off < data_len ? off : -ENXIO;
	return off < data_len ? data_len : off;
}

static const struct fuse_operations lie_ops = {
	.getattr = lie_getattr,
	.readdir = lie_readdir,
	.open = lie_open,
	.read = lie_read,
	.release = lie_release,
	.lseek = lie_lseek,
};

int main(int argc, char **argv)
{
	char foreground[] = "-f";
	char *args[] = { argv[0], foreground, argv[argc - 1], NULL };

	if (argc != 4) {
		fprintf(stderr, "usage: liefs LENGTH DIRECTORY MOUNTPOINT\n");
		return 2;
	}
	data_len = (off_t)strtoll(argv[1], NULL, 10);
	dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		perror(argv[2]);
		return 1;
	}
	return fuse_main(3, args, &lie_ops, NULL);
}
