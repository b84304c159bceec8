/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The blocking calls on an open file. Callers parse headers of odd sizes and need
 * not know if O_DIRECT is on: what is not aligned goes through
 * an aligned buffer, a write by reading the blocks around it first. Nothing
 * else may write those blocks meanwhile; opening and finishing are alone with
 * the file.
 *
 * A second, buffered descriptor for these calls was rejected: mixing cached and
 * direct I/O on one file is how stale pages reach the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/file/lock.h"
#include "io/libc.h"
#include "io/posix/file.h"
#include "io/posix/holes.h"
#include "io/posix/lookup.h"
#include "io/posix/rest.h"
#include "io/posix/turn.h"
#include "io/posix/use.h"

#define BOUNCE_LEN (256 * KiB)

/* Until len or the end of the file. Bytes read or -errno. */
static ssize_t read_to_end(struct file *file, char *buf, size_t len, uint64_t off)
{
	unsigned n_tries = 0;
	size_t done = 0;

	while (done < len) {
		ssize_t got = pread(file->fd, buf + done, len - done, (off_t)(off + done));

		if (got < 0 && posix_again(&n_tries))
			continue;
		if (got < 0)
			return posix_error();
		done += (size_t)got;
		/* A direct read ends unaligned only at the end of the file. */
		if (!got || !is_aligned(off + done, file->io_align))
			break;
	}
	return (ssize_t)done;
}

/* From the page cache. A direct read waits for the device even with RWF_NOWAIT. tmpfs refuses that
 * flag; its bytes are memory, and like this process's own they wait for nothing but swap. */
static ssize_t read_cached(struct file *file, const struct iovec *iov, unsigned n_iov, uint64_t off)
{
	ssize_t got;

	if (file->io_align > 1)
		return -EOPNOTSUPP;
	got = libc_preadv2(file->fd, iov, (int)n_iov, (off_t)off,
			   file->now.always ? 0 : RWF_NOWAIT);
	if (got >= 0)
		return got;
	/* What is wrong with the device is said to a request that waits. A filter may forbid the
	 * call. */
	return errno == EINTR || errno == EAGAIN || errno == EIO || errno == EFAULT ? -EAGAIN
										    : -EOPNOTSUPP;
}

/* Only on file systems that do not know RWF_NOWAIT for writes, where a backend would hand the write
 * to a thread. Other file systems begin it in the ring. */
static ssize_t write_cached(struct file *file, const struct iovec *iov, unsigned n_iov,
			    uint64_t off)
{
	if ((!file->now.always && !file->now.no_writes) || file->io_align > 1)
		return -EOPNOTSUPP;
	return pwritev(file->fd, iov, (int)n_iov, (off_t)off);
}

static int write_all(struct file *file, const char *buf, size_t len, uint64_t off)
{
	unsigned n_tries = 0;

	while (len > 0) {
		ssize_t put = pwrite(file->fd, buf, len, (off_t)off);

		if (put < 0 && posix_again(&n_tries))
			continue;
		if (put < 0)
			return posix_error();
		if (!put || !is_aligned((uint64_t)put, file->io_align))
			return -EIO;
		buf += put;
		len -= (size_t)put;
		off += (uint64_t)put;
	}
	return 0;
}

static bool fits_align(const struct file *file, const void *buf, size_t len, uint64_t off)
{
	return is_aligned(off | len | (uintptr_t)buf, file->io_align);
}

static void *new_bounce(const struct file *file)
{
	size_t align = MAX((size_t)file->io_align, sizeof(void *));
	void *p;

	return posix_memalign(&p, align, BOUNCE_LEN) ? NULL : p;
}

/* The aligned piece of [at, end) that fits the bounce buffer. */
static size_t piece_at(const struct file *file, uint64_t at, uint64_t end)
{
	uint64_t whole = round_up(end, file->io_align) - at;

	return (size_t)MIN(whole, (uint64_t)BOUNCE_LEN);
}

static ssize_t read_any(struct file *file, void *buf, size_t len, uint64_t off)
{
	autofree char *bounce = NULL;
	uint64_t end = off + len;
	size_t done = 0;

	if (fits_align(file, buf, len, off))
		return read_to_end(file, buf, len, off);
	bounce = new_bounce(file);
	if (!bounce)
		return -ENOMEM;
	for (uint64_t at = round_down(off, file->io_align); at < end;) {
		size_t piece = piece_at(file, at, end);
		ssize_t got = read_to_end(file, bounce, piece, at);
		uint64_t from = MAX(at, off), to;

		if (got < 0)
			return got;
		to = MIN(at + (uint64_t)got, end);
		if (to > from) {
			memcpy((char *)buf + done, bounce + (from - at), (size_t)(to - from));
			done += (size_t)(to - from);
		}
		if ((size_t)got < piece)
			break;
		at += piece;
	}
	return (ssize_t)done;
}

/* Whole blocks around [off, end): read, patch, write back. */
static int patch_blocks(struct file *file, const char *buf, uint64_t off, uint64_t end)
{
	autofree char *bounce = new_bounce(file);

	if (!bounce)
		return -ENOMEM;
	for (uint64_t at = round_down(off, file->io_align); at < end;) {
		size_t piece = piece_at(file, at, end);
		uint64_t from = MAX(at, off), to = MIN(at + piece, end);
		bool whole = from == at && to == at + piece;
		ssize_t got = whole ? (ssize_t)piece : read_to_end(file, bounce, piece, at);
		int rc;

		if (got < 0)
			return (int)got;
		memset(bounce + got, 0, piece - (size_t)got);
		memcpy(bounce + (from - at), buf + (from - off), (size_t)(to - from));
		rc = write_all(file, bounce, piece, at);
		if (rc)
			return rc;
		at += piece;
	}
	return 0;
}

static int set_file_len(struct file *file, uint64_t len)
{
	unsigned n_tries = 0;
	int rc;
	do
		rc = ftruncate(file->fd, (off_t)len);
	while (rc < 0 && posix_again(&n_tries));
	return rc < 0 ? posix_error() : 0;
}

static int write_any(struct file *file, const void *buf, size_t len, uint64_t off)
{
	struct posix_file *pf = (struct posix_file *)file;
	uint64_t end = off + len, want;
	struct stat st;
	int rc;

	if (fits_align(file, buf, len, off))
		return write_all(file, buf, len, off);
	if (fstat(file->fd, &st))
		return -errno;
	/* A worker may be changing other bytes of the same block: write_padded. */
	pthread_mutex_lock(&pf->patch_lock);
	rc = patch_blocks(file, buf, off, end);
	pthread_mutex_unlock(&pf->patch_lock);
	/* The last block may have grown the file by its padding. */
	want = MAX((uint64_t)st.st_size, end);
	if (!rc && !file->is_block && round_up(end, file->io_align) > want)
		rc = set_file_len(file, want);
	return rc;
}

static int write_padded_any(struct file *file, const void *buf, size_t len, uint64_t off)
{
	struct posix_file *pf = (struct posix_file *)file;
	int rc;

	if (is_aligned(off | len, file->io_align)) /* only its memory was unaligned */
		return patch_blocks(file, buf, off, off + len);
	pthread_mutex_lock(&pf->patch_lock);
	rc = patch_blocks(file, buf, off, off + len);
	pthread_mutex_unlock(&pf->patch_lock);
	return rc;
}

static int clone_range(struct file *to, struct file *from, uint64_t from_off, uint64_t off,
		       uint64_t len)
{
	struct file_clone_range range = {
		.src_fd = from->fd, .src_offset = from_off, .src_length = len, .dest_offset = off
	};
	unsigned n_tries = 0;
	int rc;

	do
		rc = ioctl(to->fd, FICLONERANGE, &range);
	while (rc < 0 && posix_again(&n_tries));
	return rc < 0 ? posix_error() : 0;
}

static int sync_data(struct file *file)
{
	unsigned n_tries = 0;
	int rc;
	do
		rc = fdatasync(file->fd);
	while (rc < 0 && posix_again(&n_tries));
	return rc < 0 ? posix_error() : 0;
}

static void close_fds(struct file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->lock_fd >= 0)
		close(file->lock_fd);
	if (file->past_cache.fd >= 0)
		close(file->past_cache.fd);
	file->fd = file->lock_fd = file->past_cache.fd = -1;
	file->past_cache.align = 0;
}

static void close_posix(struct file *file)
{
	struct posix_file *pf = (struct posix_file *)file;

	if (pf->owner == getpid()) {
		file_watch_end(&pf->watched);
		/* The ring, or a child, may hold on to the description; the locks must not. */
		if (file->is_locked)
			file_lock_drop(file);
		posix_use_end(pf->use);
	}
	close_fds(file);
	free(file->past_cache.seen);
	free(file->name);
	free(file->real_name);
	pthread_mutex_destroy(&pf->patch_lock);
	free(file);
}

static void punch_range(struct file *file, uint64_t off, uint64_t len)
{
	if (!file->is_block)
		(void)!fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
				 (off_t)len);
}

static void drop_cached(struct file *file)
{
	(void)!posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void advise_reads(struct file *file, bool scattered)
{
	(void)!posix_fadvise(file->fd, 0, 0, scattered ? POSIX_FADV_RANDOM : POSIX_FADV_NORMAL);
}

/* A device node's times say nothing of its content. */
static enum file_state look_at(struct file *file)
{
	struct posix_file *pf = (struct posix_file *)file;

	return file->is_block ? FILE_SAME
			      : file_watch_look(&pf->watched, file->fd, file->len, &file->mtime_ns);
}

const struct file_ops posix_file_ops = {
	.read_at = read_any,
	.read_now = read_cached,
	.write_now = write_cached,
	.write_at = write_any,
	.write_padded = write_padded_any,
	.clone = clone_range,
	.sync = sync_data,
	.truncate = set_file_len,
	.status = posix_holes_status,
	.discard = punch_range,
	.uncache = drop_cached,
	.advise_reads = advise_reads,
	.look = look_at,
	.rest = posix_rest,
	.wake = posix_wake,
	.turn_begin = posix_turn_begin,
	.turn_end = posix_turn_end,
	.close = close_posix,
	.leave = close_fds,
};
