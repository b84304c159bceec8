/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A file system that writes down what a power cut could undo.
 *
 *   cutfs LOG DIRECTORY MOUNTPOINT      (in the foreground, until unmounted)
 *
 * It shows one flat directory and logs every change and every sync, once when
 * it comes in and once when it has been answered, in the order of both. It
 * knows nothing of images or of who writes them; crash states are made from
 * the log by tests/bb/faults/cut_states.py. `mkdir NAME` fails and leaves a mark in
 * the log: so a test puts "the command has ended" in order with the rest.
 * Logging on a block device (dm-log-writes) was rejected: it needs root, a
 * kernel module and a file system in between that hides lost barriers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/flat_dir.h"

/* One record: this, then payload_len bytes. The reader knows the layout: "<cxxxiQQQQ". */
struct record {
	char op; /* 'W'rite, 'T'runcate, 'A'llocate, 'P'unch, 'Z'ero, 'S'ync; 'C'reate, 'R'ename,
			     'L'ink, 'U'nlink, sync of the 'D'irectory; 'M'ark; 'E'nd of another */
	int32_t result;   /* of an end: 0 or -errno */
	uint64_t number;  /* of the request; its end has the same */
	uint64_t file;    /* inode number below; 0: it has none */
	uint64_t off_len; /* offset, or the new length */
	uint64_t payload_len;
};

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *log_file;
static uint64_t n_requests;

static void log_put(const struct record *r, const void *payload)
{
	if (fwrite(r, sizeof(*r), 1, log_file) != 1 ||
	    (r->payload_len && fwrite(payload, r->payload_len, 1, log_file) != 1)) {
		perror("cutfs: the log");
		abort(); /* a log with a gap would acquit */
	}
}

static uint64_t log_begin(char op, uint64_t file, uint64_t off, const void *payload, size_t len)
{
	struct record r = { .op = op, .file = file, .off_len = off, .payload_len = len };

	pthread_mutex_lock(&log_lock);
	r.number = ++n_requests;
	log_put(&r, payload);
	pthread_mutex_unlock(&log_lock);
	return r.number;
}

/* Of a file that is created the inode is known only now. Returns its argument. */
static int log_end(uint64_t number, uint64_t file, int result)
{
	struct record r = {
		.op = 'E', .number = number, .file = file, .result = result < 0 ? result : 0
	};

	pthread_mutex_lock(&log_lock);
	log_put(&r, NULL);
	fflush(log_file);
	pthread_mutex_unlock(&log_lock);
	return result;
}

static uint64_t inode_of(int fd, const char *path)
{
	struct stat st;
	int rc = fd >= 0 ? fstat(fd, &st)
			 : fstatat(flat_dir_fd, flat_below(path), &st, AT_SYMLINK_NOFOLLOW);

	return rc ? 0 : st.st_ino;
}

static void *cut_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
	(void)conn;
	/* Nothing is remembered: a second run sees what the first one left, and so does a test. */
	cfg->use_ino = 1;
	cfg->hard_remove = 1; /* no second name for what is removed while it is open */
	cfg->nullpath_ok = 1;
	cfg->entry_timeout = cfg->attr_timeout = cfg->negative_timeout = 0;
	return NULL;
}

static int cut_open(const char *path, struct fuse_file_info *fi)
{
	/* The kernel keeps O_DIRECT and O_APPEND to itself. */
	int rc = flat_opened(
		fi, openat(flat_dir_fd, flat_below(path), fi->flags & (O_ACCMODE | O_NOFOLLOW)));

	if (!rc && fi->flags & O_TRUNC) {
		uint64_t n = log_begin('T', inode_of((int)fi->fh, NULL), 0, NULL, 0);
		rc = log_end(n, 0, flat_result(ftruncate((int)fi->fh, 0)));
	}
	return rc;
}

static int cut_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	const char *name = flat_below(path);
	uint64_t n = log_begin('C', 0, 0, name, strlen(name));
	int rc = flat_opened(fi, openat(flat_dir_fd, name, O_CREAT | O_EXCL | O_RDWR, mode));

	return log_end(n, rc ? 0 : inode_of((int)fi->fh, NULL), rc);
}

static int cut_write(const char *path, const char *buf, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	(void)path;
	uint64_t n = log_begin('W', inode_of((int)fi->fh, NULL), (uint64_t)off, buf, len);
	ssize_t done = 0, got = 1;

	while ((size_t)done < len && got > 0) {
		got = pwrite((int)fi->fh, buf + done, len - (size_t)done, off + done);
		done += got > 0 ? got : 0;
	}
	/* All or an error: the log knows no half writes. */
	return log_end(n, 0, (size_t)done == len ? (int)len : got < 0 ? -errno : -EIO);
}

static int cut_truncate(const char *path, off_t len, struct fuse_file_info *fi)
{
	int fd = fi ? dup((int)fi->fh) : openat(flat_dir_fd, flat_below(path), O_WRONLY);
	uint64_t n = log_begin('T', inode_of(fd, path), (uint64_t)len, NULL, 0);
	int rc = log_end(n, 0, flat_result(fd < 0 ? -1 : ftruncate(fd, len)));

	if (fd >= 0)
		close(fd);
	return rc;
}

static int cut_fallocate(const char *path, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	(void)path;
	/* The rest would be written down as what it is not. */
	char op = mode == 0                                              ? 'A'
		  : mode == FALLOC_FL_KEEP_SIZE                          ? 'K'
		  : mode & FALLOC_FL_PUNCH_HOLE                          ? 'P'
		  : mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE) ? 'P'
		  : mode == FALLOC_FL_ZERO_RANGE                         ? 'Z'
									 : 0;
	uint64_t len_le = (uint64_t)len;

	if (!op)
		return -EOPNOTSUPP;
	uint64_t n =
		log_begin(op, inode_of((int)fi->fh, NULL), (uint64_t)off, &len_le, sizeof(len_le));
	return log_end(n, 0, flat_result(fallocate((int)fi->fh, mode, off, len)));
}

static int cut_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path, (void)datasync;
	/* Nothing is synced below: only the log says what would have been. */
	return log_end(log_begin('S', inode_of((int)fi->fh, NULL), 0, NULL, 0), 0, 0);
}

static int cut_fsyncdir(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path, (void)datasync, (void)fi;
	return log_end(log_begin('D', 0, 0, NULL, 0), 0, 0);
}

static uint64_t log_names(char op, const char *from, const char *to)
{
	char both[1024];
	int len = snprintf(both, sizeof(both), "%s/%s", flat_below(from), flat_below(to));

	return log_begin(op, inode_of(-1, from), 0, both,
			 (size_t)len < sizeof(both) ? (size_t)len : 0);
}

static int cut_rename(const char *from, const char *to, unsigned flags)
{
	uint64_t n = log_names('R', from, to);

	return log_end(n, 0, flat_rename(from, to, flags));
}

static int cut_link(const char *from, const char *to)
{
	uint64_t n = log_names('L', from, to);

	return log_end(
		n, 0,
		flat_result(linkat(flat_dir_fd, flat_below(from), flat_dir_fd, flat_below(to), 0)));
}

static int cut_unlink(const char *path)
{
	uint64_t n =
		log_begin('U', inode_of(-1, path), 0, flat_below(path), strlen(flat_below(path)));

	return log_end(n, 0, flat_unlink(path));
}

static int cut_mkdir(const char *path, mode_t mode)
{
	(void)mode;
	log_end(log_begin('M', 0, 0, flat_below(path), strlen(flat_below(path))), 0, 0);
	return -ECANCELED;
}

static int cut_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	(void)fi;
	return flat_result(fchmodat(flat_dir_fd, flat_below(path), mode, 0));
}

static int cut_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
	(void)fi;
	return flat_result(utimensat(flat_dir_fd, flat_below(path), times, AT_SYMLINK_NOFOLLOW));
}

static const struct fuse_operations operations = {
	.init = cut_init,
	.getattr = flat_getattr,
	.readdir = flat_readdir,
	.open = cut_open,
	.create = cut_create,
	.release = flat_release,
	.read = flat_read,
	.write = cut_write,
	.truncate = cut_truncate,
	.fallocate = cut_fallocate,
	.fsync = cut_fsync,
	.fsyncdir = cut_fsyncdir,
	.rename = cut_rename,
	.link = cut_link,
	.unlink = cut_unlink,
	.mkdir = cut_mkdir,
	.lseek = flat_lseek,
	.chmod = cut_chmod,
	.utimens = cut_utimens,
	.statfs = flat_statfs,
};

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: %s LOG DIRECTORY MOUNTPOINT\n", argv[0]);
		return 2;
	}
	log_file = fopen(argv[1], "we");
	flat_dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!log_file || flat_dir_fd < 0) {
		perror(argv[0]);
		return 1;
	}
	char foreground[] = "-f", option[] = "-o", name[] = "fsname=cutfs,auto_unmount";
	char *fuse_argv[] = { argv[0], foreground, option, name, argv[3], NULL };
	int rc = fuse_main(5, fuse_argv, &operations, NULL);
	return fclose(log_file) ? 1 : rc;
}
