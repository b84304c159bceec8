/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Requests that O_DIRECT refuses, because offset, length or memory is not a
 * multiple of what the device wants: tables, compressed clusters, a guest's
 * memory. A worker does them with blocking calls, which align them.
 *
 * Tables that are aligned from the start were rejected: the simulator, the formats and
 * the cache would all have to know a number that only one way of opening has.
 */
#include "io/unaligned.h"

#include <errno.h>
#include <stdlib.h>

#include "io/base.h"
#include "io/file.h"
#include "io/req.h"

static bool is_all_aligned(const struct io_req *req, uint32_t align)
{
	uint64_t all = req->off | req->len;

	for (unsigned i = 0; i < req->n_iov; i++)
		all |= (uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len;
	return is_aligned(all, align);
}

bool io_req_is_unaligned(const struct io_req *req)
{
	uint32_t align = req->file ? req->file->io_align : 1;

	if (align <= 1 || (req->kind != IO_READ && req->kind != IO_WRITE))
		return false;
	return !is_all_aligned(req, align);
}

/* Only inside the file: the last block of it may be cut off by its end. */
bool io_req_may_pass_cache(const struct io_req *req)
{
	const struct file *file = req->file;

	return req->kind == IO_READ && file->past_cache.align && !file->writable &&
	       !file->past_cache.no_reads && file->io_align <= 1 && req->off <= file->len &&
	       req->len <= file->len - req->off && is_all_aligned(req, file->past_cache.align);
}

/* Copies between the request's memory and one flat buffer, in the direction of the request. */
static void copy(const struct io_req *req, char *flat, uint64_t len)
{
	for (unsigned i = 0; i < req->n_iov && len; i++) {
		uint64_t n = MIN((uint64_t)req->iov[i].iov_len, len);

		if (req->kind == IO_READ)
			memcpy(req->iov[i].iov_base, flat, n);
		else
			memcpy(flat, req->iov[i].iov_base, n);
		flat += n;
		len -= n;
	}
}

static int64_t run_flat(const struct io_req *req)
{
	struct file *file = req->file;
	autofree char *flat = malloc(req->len ? req->len : 1);
	int64_t got;

	if (!flat)
		return -ENOMEM;
	if (req->off > INT64_MAX || req->len > INT64_MAX - req->off)
		return -EINVAL;
	if (req->kind == IO_READ) {
		got = file->ops->read_at(file, flat, req->len, req->off);
		copy(req, flat, got > 0 ? (uint64_t)got : 0);
		return got;
	}
	if (file->is_block && req->off + req->len > file->len)
		return -ENOSPC;
	copy(req, flat, req->len);
	got = file->ops->write_padded(file, flat, req->len, req->off);
	return got < 0 ? got : (int64_t)req->len;
}

void io_req_run_unaligned(struct io_req *req)
{
	req->result = run_flat(req);
}
