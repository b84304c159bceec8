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
#define FUSE_USE_VERSION 312 /* max_threads */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/flat_dir.h"

#define SECOND_NS UINT64_C(1000000000)

static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t rate, each_ns;
static uint64_t free_ns; /* until then the device is at work */

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

static int slow_open(const char *path, struct fuse_file_info *fi)
{
	/* The kernel keeps O_DIRECT and O_APPEND to itself. */
	int flags = (fi->flags & (O_ACCMODE | O_NOFOLLOW | O_TRUNC)) | O_CLOEXEC;

	return flat_opened(fi, openat(flat_dir_fd, flat_below(path), flags));
}

static int slow_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	return flat_opened(fi, openat(flat_dir_fd, flat_below(path),
				      O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));
}

static int slow_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	device_serve(len);
	return flat_read(path, buf, len, off, fi);
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
	int fd =
		fi ? dup((int)fi->fh) : openat(flat_dir_fd, flat_below(path), O_WRONLY | O_CLOEXEC);
	int rc = flat_result(fd < 0 ? -1 : ftruncate(fd, len));

	if (fd >= 0)
		close(fd);
	return rc;
}

static int slow_fallocate(const char *path, int mode, off_t off, off_t len,
			  struct fuse_file_info *fi)
{
	(void)path;
	return flat_result(fallocate((int)fi->fh, mode, off, len));
}

static int slow_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path, (void)datasync, (void)fi;
	device_serve(0);
	return 0;
}

static const struct fuse_operations operations = {
	.init = slow_init,
	.getattr = flat_getattr,
	.readdir = flat_readdir,
	.open = slow_open,
	.create = slow_create,
	.release = flat_release,
	.read = slow_read,
	.write = slow_write,
	.truncate = slow_truncate,
	.fallocate = slow_fallocate,
	.fsync = slow_fsync,
	.rename = flat_rename,
	.unlink = flat_unlink,
	.lseek = flat_lseek,
	.statfs = flat_statfs,
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
	flat_dir_fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (flat_dir_fd < 0) {
		perror(argv[3]);
		return 1;
	}
	char *args[] = { argv[0], foreground, option, words, argv[4], NULL };
	return fuse_main(5, args, &operations, NULL);
}
