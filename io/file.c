/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The one gate every blocking call on a file passes: ranges are checked here,
 * so that a source of bytes stays a few lines and none can forget. A range an
 * image made up (past 2^63, past the end) is an answer, never an assertion.
 *
 * Keeping file->len here instead of asking fstat() each time was chosen: two
 * descriptions of one length would disagree sooner or later.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "io/base.h"
#include "io/blocking.h"
#include "io/file.h"

/* Space that a file system gives back at once. One that tells its device does so in the same call,
 * and what others read and write waits in the device's queue behind it: at 1 GiB for 24 ms, at this
 * for 5 ms. */
#define GIVE_BACK_LEN (16 * MiB)

/* All offsets of the range fit into off_t. */
static bool is_off_t_range(uint64_t off, uint64_t len)
{
	uint64_t end;
	return !add_u64(off, len, &end) && end <= INT64_MAX;
}

int file_read(struct file *file, void *buf, size_t len, uint64_t off)
{
	ssize_t got;

	if (!is_off_t_range(off, len))
		return -EUCLEAN;
	got = WAITING(file->ops->read_at(file, buf, len, off));
	if (got < 0)
		return (int)got;
	return (size_t)got == len ? 0 : -EUCLEAN;
}

int file_read_padded(struct file *file, void *buf, size_t len, uint64_t off)
{
	ssize_t got;

	if (!is_off_t_range(off, len))
		return -EINVAL;
	got = WAITING(file->ops->read_at(file, buf, len, off));
	if (got < 0)
		return (int)got;
	assert((size_t)got <= len);
	memset((char *)buf + got, 0, len - (size_t)got);
	return 0;
}

int file_write(struct file *file, const void *buf, size_t len, uint64_t off)
{
	int rc;

	if (!file->writable)
		return -EBADF;
	if (!is_off_t_range(off, len))
		return -EFBIG;
	if (file->is_block && off + len > file->len)
		return -ENOSPC;
	rc = WAITING(file->ops->write_at(file, buf, len, off));
	if (!rc)
		file->len = MAX(file->len, (uint64_t)(off + len));
	return rc;
}

int file_overwrite(struct file *file, const void *buf, size_t len, uint64_t off)
{
	if (!file->writable)
		return -EBADF;
	if (!is_off_t_range(off, len))
		return -EFBIG;
	return WAITING(file->ops->write_at(file, buf, len, off));
}

int file_clone(struct file *to, struct file *from, uint64_t from_off, uint64_t off, uint64_t len)
{
	if (!to->ops->clone || to->ops != from->ops)
		return -EOPNOTSUPP;
	if (!to->writable)
		return -EBADF;
	if (!is_off_t_range(off, len) || !is_off_t_range(from_off, len))
		return -EINVAL;
	return WAITING(to->ops->clone(to, from, from_off, off, len));
}

int file_sync(struct file *file)
{
	return WAITING(file->ops->sync(file));
}

int file_truncate(struct file *file, uint64_t len)
{
	int rc;

	if (!file->writable)
		return -EBADF;
	if (len > INT64_MAX)
		return -EFBIG;
	if (file->is_block)
		return len > file->len ? -ENOSPC : 0;
	rc = WAITING(file->ops->truncate(file, len));
	if (!rc)
		file->len = len;
	return rc;
}

int file_cut(struct file *file, uint64_t len)
{
	int rc = 0;

	/* A device keeps its length. */
	while (!rc && !file->is_block && file->len > len)
		rc = file_truncate(file, file->len - MIN(file->len - len, GIVE_BACK_LEN));
	return rc;
}

int file_lengthen(struct file *file, uint64_t len)
{
	int rc;

	if (!file->writable)
		return -EBADF;
	if (file->is_block)
		return -ENOSPC;
	rc = WAITING(file->ops->truncate(file, len));
	return rc ? rc : WAITING(file->ops->sync(file));
}

void file_close(struct file *file)
{
	if (!file)
		return;
	blocking_begin();
	file->ops->close(file);
	blocking_end();
}

void file_advise_reads(struct file *file, bool scattered)
{
	if (file->ops->advise_reads)
		file->ops->advise_reads(file, scattered);
}

void file_uncache(struct file *file)
{
	if (!file->ops->uncache)
		return;
	blocking_begin();
	file->ops->uncache(file);
	blocking_end();
}

void file_discard(struct file *file, uint64_t off, uint64_t len)
{
	if (!file->writable || !file->ops->discard)
		return;
	blocking_begin();
	for (uint64_t n; len; off += n, len -= n) {
		n = MIN(len, GIVE_BACK_LEN);
		file->ops->discard(file, off, n);
	}
	blocking_end();
}

uint64_t file_shown_off(const struct file *file, uint64_t off)
{
	return file->of_source.told_len ? off * file->of_source.told_len : off;
}

const char *file_show(const struct file *file, struct shown *shown)
{
	return err_escape(file->name, strlen(file->name), shown->name, sizeof(shown->name));
}
