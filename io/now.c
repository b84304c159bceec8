/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/now.h"

#include <errno.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"

ssize_t file_read_now(struct file *file, const struct iovec *iov, unsigned n_iov, uint64_t off)
{
	ssize_t got;

	if (file->now.no_reads || !file->ops->read_now || off > INT64_MAX)
		return 0;
	got = file->ops->read_now(file, iov, n_iov, off);
	file->now.no_reads = got == -EOPNOTSUPP;
	return MAX(got, (ssize_t)0);
}

bool file_write_now(struct file *file, const struct iovec *iov, unsigned n_iov, size_t len,
		    uint64_t off)
{
	uint64_t unit = file->now.no_writes ? (uint64_t)sysconf(_SC_PAGESIZE) : 1;

	return file->writable && is_aligned(off | len, unit) && file->ops->write_now &&
	       off <= file->len && len <= file->len - off &&
	       file->ops->write_now(file, iov, n_iov, off) == (ssize_t)len;
}
