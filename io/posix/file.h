/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A struct file on the machine's own file system: file.c has its blocking calls, open.c makes one
 * of a descriptor, holes.c, rest.c and turn.c change its state. One file for all was rejected:
 * policy (lookup.c, link.c) is read by other people than the oddities of lseek().
 */
#ifndef BLOCKPULL_IO_POSIX_FILE_H
#define BLOCKPULL_IO_POSIX_FILE_H

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_watch.h"
#include "io/file/lock.h"

struct file_system;

struct posix_size {
	uint64_t len;
	int64_t mtime_ns;
};

struct posix_file {
	struct file file;             /* first: the ops cast back */
	const struct file_system *fs; /* that it lies on */
	/* What SEEK_DATA and SEEK_HOLE said last: [extent_off, extent_end), empty at first. Kept
	 * for read-only files; a write would turn a hole into data behind our back. */
	uint64_t extent_off, extent_end;
	bool extent_is_hole;
	bool confirm_holes;          /* each one by a second witness: posix/holes.c */
	struct watched_file watched; /* for a file that we only read */
	struct file_watch *watch;    /* which watches it, or NULL */
	enum file_lock lock;         /* what it is locked for while it does not rest */
	struct given_use *use;       /* of a file that the program gave, or NULL */
	struct {
		bool is_done; /* and is not told yet */
		struct posix_size size;
	} turn;
	pid_t owner; /* the opening process; its child by fork() leaves locks and watches alone */
	pthread_mutex_t patch_lock; /* blocks that are read, changed and written back by several */
};

extern const struct file_ops posix_file_ops;

/* A call failed: true if it may be tried again. *n_tries begins at 0. */
static inline bool posix_again(unsigned *n_tries)
{
	return (errno == EINTR || errno == EAGAIN) && (*n_tries)++ < IO_MAX_RETRIES;
}

/* The code of one that was given up. */
static inline int posix_error(void)
{
	return errno == EINTR || errno == EAGAIN ? -EIO : -errno;
}

/* The file system, or a filter of system calls, has no such call; another may do. */
static inline bool posix_is_refused(int code)
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

#endif
