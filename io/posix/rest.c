/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What an open file has for a time only: its locks, its length and time, the watch on it.
 * They are taken when it is opened, given back while it rests, and taken again.
 */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <time.h>

#include "io/file/lock.h"
#include "io/posix/file.h"
#include "io/posix/rest.h"

#define LOCK_PAUSE_MS 10

int posix_ask_size(const struct file *file, struct posix_size *out)
{
	struct stat st;
	if (fstat(file->fd, &st))
		return -errno;
	out->len = (uint64_t)st.st_size;
	out->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	if (!file->is_block)
		return 0;
	return ioctl(file->fd, BLKGETSIZE64, &out->len) ? -errno : 0;
}

int posix_measure(struct file *file)
{
	struct posix_size size;
	int rc = posix_ask_size(file, &size);

	if (rc)
		return rc;
	file->len = size.len;
	file->mtime_ns = size.mtime_ns;
	return 0;
}

int posix_take_locks(struct file *file, enum file_lock lock, unsigned wait_ms, bool *unsupported,
		     struct err *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };

	for (unsigned waited_ms = 0;; waited_ms += LOCK_PAUSE_MS) {
		int rc = file_lock_take(file, lock, unsupported, err);

		file->is_locked = !rc && lock != FILE_LOCK_NONE;
		if (rc != -EBUSY || waited_ms >= wait_ms)
			return rc;
		nanosleep(&pause, NULL);
	}
}

void posix_begin_watch(struct posix_file *pf)
{
	const struct file *file = &pf->file;

	if (!file->writable && !file->is_block && !file->is_given)
		file_watch_begin(&pf->watched, pf->watch, file->fd);
}

int posix_wake(struct file *file, unsigned lock_wait_ms, struct err *err)
{
	struct posix_file *pf = (struct posix_file *)file;
	struct shown shown;
	bool unsupported;
	int rc = posix_take_locks(file, pf->lock, lock_wait_ms, &unsupported, err);

	if (rc)
		return rc;
	pf->extent_off = pf->extent_end = 0;
	file_watch_end(&pf->watched); /* of one that was not at rest */
	pf->watched = (struct watched_file){ 0 };
	posix_begin_watch(pf);
	rc = posix_measure(file);
	if (rc) {
		posix_rest(file);
		return err_errno(err, rc, "cannot find the size of '%s'", file_show(file, &shown));
	}
	return 0;
}

void posix_rest(struct file *file)
{
	struct posix_file *pf = (struct posix_file *)file;

	file_watch_end(&pf->watched);
	pf->watched = (struct watched_file){ 0 };
	if (file->is_locked)
		file_lock_drop(file);
	file->is_locked = false;
}
