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
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/flat_dir.h"

static off_t data_len; /* what it admits to */

static int lie_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (fstatat(flat_dir_fd, flat_below(path), st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (S_ISREG(st->st_mode))
		st->st_blocks = data_len / 512;
	return 0;
}

static int lie_open(const char *path, struct fuse_file_info *fi)
{
	return flat_opened(fi, openat(flat_dir_fd, flat_below(path), O_RDONLY | O_CLOEXEC));
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
	.readdir = flat_readdir,
	.open = lie_open,
	.read = flat_read,
	.release = flat_release,
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
	flat_dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (flat_dir_fd < 0) {
		perror(argv[2]);
		return 1;
	}
	return fuse_main(3, args, &lie_ops, NULL);
}
