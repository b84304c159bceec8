/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A file system on a slow device.
 *
 *   slowfs BYTES_PER_SECOND MICROSECONDS DIRECTORY MOUNTPOINT
 *
 * It shows one flat directory, in the foreground, until it is unmounted. The device does one
 * request after the other, in the order in which they come: each takes so long, and the time of
 * its bytes at that rate; a sync takes that of a request without bytes. What the kernel's cache
 * has costs nothing. So a test needs neither a device of its own nor root's control groups, and
 * what others do to the machine's disk matters little.
 */
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t rate, each_ns;
static uint64_t free_ns; /* until then the device is at work */
static int dir_fd;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* Waits for its turn, and for its own time. */
static void device_serve(uint64_t len)
{
	uint64_t at_ns = now_ns();
	struct timespec until;

	pthread_mutex_lock(&device_lock);
	if (free_ns > at_ns)
		at_ns = free_ns;
	at_ns += each_ns + len * SECOND_NS / rate;
	free_ns = at_ns;
	pthread_mutex_unlock(&device_lock);
	until = (struct timespec){ .tv_sec = (time_t)(at_ns / SECOND_NS),
				   .tv_nsec = (long)(at_ns % SECOND_NS) };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int result_of(int rc)
{
	return rc < 0 ? -errno : 0;
}

static void *slow_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
	conn->max_background = 128; /* the queue is the device's */
	conn->congestion_threshold = 128;
	cfg->use_ino = 1;
	cfg->hard_remove = 1;
	cfg->nullpath_ok = 1;
	cfg->kernel_cache = 1; /* tests write through it only */
	return NULL;
}

static int slow_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	return result_of(fi ? fstat((int)fi->fh, st)
			    : fstatat(dir_fd, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int slow_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
			struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	(void)path, (void)off, (void)fi, (void)flags;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return -errno;
	for (struct dirent *d; (d = readdir(dir));)
		fill(buf, d->d_name, NULL, 0, 0);
	closedir(dir);
	return 0;
}

static int slow_open(const char *path, struct fuse_file_info *fi)
{
	/* The kernel keeps O_DIRECT and O_APPEND to itself. */
	int flags = (fi->flags & (O_ACCMODE | O_NOFOLLOW | O_TRUNC)) | O_CLOEXEC;
	int fd = openat(dir_fd, below(path), flags);

	fi->fh = (uint64_t)fd;
	return result_of(fd);
}

static int slow_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	int fd = openat(dir_fd, below(path), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);

	fi->fh = (uint64_t)fd;
	return result_of(fd);
}

static int slow_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	close((int)fi->fh);
	return 0;
}

static int slow_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	(void)path;
	device_serve(len);
	ssize_t n = pread((int)fi->fh, buf, len, off);

	return n < 0 ? -errno : (int)n;
}

static int slow_write(const char *path, const char *buf, size_t len, off_t off,
		      struct fuse_file_info *fi)
{
	(void)path;
	device_serve(len);
	ssize_t n = pwrite((int)fi->fh, buf, len, off);

	return n < 0 ? -errno : (int)n;
}

static int slow_truncate(const char *path, off_t len, struct fuse_file_info *fi)
{
	int fd = fi ? dup((int)fi->fh) : openat(dir_fd, below(path), O_WRONLY | O_CLOEXEC);
	int rc = result_of(fd < 0 ? -1 : ftruncate(fd, len));

	if (fd >= 0)
		close(fd);
	return rc;
}

static int slow_fallocate(const char *path, int mode, off_t off, off_t len,
			  struct fuse_file_info *fi)
{
	(void)path;
	return result_of(fallocate((int)fi->fh, mode, off, len));
}

static int slow_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path, (void)datasync, (void)fi;
	device_serve(0);
	return 0;
}

static int slow_rename(const char *from, const char *to, unsigned flags)
{
	return result_of(
		(int)syscall(SYS_renameat2, dir_fd, below(from), dir_fd, below(to), flags));
}

static int slow_unlink(const char *path)
{
	return result_of(unlinkat(dir_fd, below(path), 0));
}

static off_t slow_lseek(const char *path, off_t off, int whence, struct fuse_file_info *fi)
{
	(void)path;
	off_t at = lseek((int)fi->fh, off, whence);

	return at < 0 ? -errno : at;
}

static int slow_statfs(const char *path, struct statvfs *st)
{
	(void)path;
	return result_of(fstatvfs(dir_fd, st));
}

static const struct fuse_operations operations = {
	.init = slow_init,
	.getattr = slow_getattr,
	.readdir = slow_readdir,
	.open = slow_open,
	.create = slow_create,
	.release = slow_release,
	.read = slow_read,
	.write = slow_write,
	.truncate = slow_truncate,
	.fallocate = slow_fallocate,
	.fsync = slow_fsync,
	.rename = slow_rename,
	.unlink = slow_unlink,
	.lseek = slow_lseek,
	.statfs = slow_statfs,
};

int main(int argc, char **argv)
{
	char foreground[] = "-f", option[] = "-o",
	     words[] = "fsname=slowfs,auto_unmount,max_threads=256";

	if (argc != 5 || !(rate = strtoull(argv[1], NULL, 10))) {
		fprintf(stderr, "usage: %s BYTES_PER_SECOND MICROSECONDS DIRECTORY MOUNTPOINT\n",
			argv[0]);
		return 2;
	}
	each_ns = strtoull(argv[2], NULL, 10) * 1000;
	dir_fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		perror(argv[3]);
		return 1;
	}
	char *args[] = { argv[0], foreground, option, words, argv[4], NULL };
	return fuse_main(5, args, &operations, NULL);
}
