/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the tests' FUSE file systems have alike: each shows one flat directory, whose files it opens
 * itself (fi->fh), and differs in what it does on the way. Compiled into each of them.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_FLAT_DIR_H
#define BLOCKPULL_TESTS_SUPPORT_FLAT_DIR_H

/* One that needs more says so before. */
#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 31
#endif
#include <fuse3/fuse.h>

/* Of the directory, opened first. */
extern int flat_dir_fd;

/* A path as FUSE gives it, from the directory. */
const char *flat_below(const char *path);
/* rc of a system call, as FUSE wants it: -errno or 0. */
int flat_result(int rc);
/* The file is open as fd; -1: errno says why not. */
int flat_opened(struct fuse_file_info *fi, int fd);

int flat_getattr(const char *path, struct stat *st, struct fuse_file_info *fi);
int flat_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
		 struct fuse_file_info *fi, enum fuse_readdir_flags flags);
int flat_release(const char *path, struct fuse_file_info *fi);
int flat_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi);
int flat_rename(const char *from, const char *to, unsigned flags);
int flat_unlink(const char *path);
off_t flat_lseek(const char *path, off_t off, int whence, struct fuse_file_info *fi);
int flat_statfs(const char *path, struct statvfs *st);

#endif
