/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Requests, and what one attempt at one means. Resuming short transfers lives
 * here once, because it is where other systems have corrupted images: the rest
 * starts at off + done_len, in the file and in the vector alike.
 *
 * Leaving short results to the callers was rejected: each would have to get
 * that right, and every test of it would be written four times.
 */
#include "io/req.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "io/base.h"
#include "io/file.h"

static void init_req(struct io_req *req, enum io_kind kind, struct file *file, uint64_t len,
		     uint64_t off)
{
	*req = (struct io_req){
		.kind = kind, .file = file, .off = off, .len = len, .owner = req->owner
	};
}

static void set_one_buffer(struct io_req *req, void *buf, size_t len)
{
	req->one = (struct iovec){ .iov_base = buf, .iov_len = len };
	req->iov = &req->one;
	req->n_iov = 1;
}

void io_req_read(struct io_req *req, struct file *file, void *buf, size_t len, uint64_t off)
{
	init_req(req, IO_READ, file, len, off);
	set_one_buffer(req, buf, len);
}

void io_req_write(struct io_req *req, struct file *file, const void *buf, size_t len, uint64_t off)
{
	init_req(req, IO_WRITE, file, len, off);
	set_one_buffer(req, (void *)(uintptr_t)buf, len);
}

void io_req_sync(struct io_req *req, struct file *file)
{
	init_req(req, IO_SYNC, file, 0, 0);
}

void io_req_writeback(struct io_req *req, struct file *file, uint64_t len, uint64_t off)
{
	init_req(req, IO_WRITEBACK, file, len, off);
}

void io_req_work(struct io_req *req, int (*work)(struct io_req *req))
{
	init_req(req, IO_WORK, NULL, 0, 0);
	req->work = work;
}

/* ---- What an attempt gave ---- */

static bool end_with(struct io_req *req, int64_t result)
{
	req->result = result;
	return true;
}

/* false as long as another try is allowed. */
static bool try_again(struct io_req *req)
{
	return ++req->n_retries > IO_MAX_RETRIES && end_with(req, -EIO);
}

/* A direct transfer ended unaligned, where it can't be resumed: for a read that is the end of the
 * file, else the last block is done again. */
static bool resume_unaligned(struct io_req *req)
{
	uint64_t at = req->off + req->done_len;
	uint64_t back = at - round_down(at, req->file->io_align);

	if (req->kind == IO_READ && at >= req->file->len)
		return end_with(req, (int64_t)req->done_len);
	req->done_len -= MIN(back, req->done_len);
	return try_again(req);
}

static bool add_moved(struct io_req *req, uint64_t n)
{
	assert(n <= req->len - req->done_len);
	req->done_len += n;
	if (req->done_len == req->len)
		return end_with(req, (int64_t)req->len);
	if (!n && req->kind == IO_READ)
		return end_with(req, (int64_t)req->done_len);
	if (!n) {
		bool at_end = req->file->is_block && req->off + req->done_len >= req->file->len;
		return end_with(req, at_end ? -ENOSPC : -EIO);
	}
	if (!req->unaligned && !is_aligned(req->off + req->done_len, MAX(req->file->io_align, 1u)))
		return resume_unaligned(req);
	req->n_retries = 0;
	return false;
}

/* True: an attempt past the page cache gave an error, or something else than whole blocks. The rest
 * is read through the cache: that tells if the file ends there, and the cache may have what the
 * device can't read. */
static bool leave_to_cache(struct io_req *req, int64_t got)
{
	if (!req->past_cache || got == -EINTR || got == -EAGAIN)
		return false;
	if (got > 0 && is_aligned((uint64_t)got, req->file->past_cache.align))
		return false;
	req->past_cache = false;
	req->past_cache_refused = got == -EINVAL || got == -EOPNOTSUPP;
	return true;
}

int io_req_fd(const struct io_req *req)
{
	return req->past_cache ? req->file->past_cache.fd : req->file->fd;
}

bool io_req_is_in_turn(const struct io_req *req)
{
	const struct file *file = req->file;

	return req->kind == IO_WRITE && file->io_align <= 1 &&
	       (file->now.in_turn || (req->offload && !file->is_block));
}

bool io_req_attempt(struct io_req *req, int64_t got)
{
	if (req->kind == IO_WORK)
		return end_with(req, got);
	if (leave_to_cache(req, got) && got <= 0)
		return false;
	if (got == -EINTR || got == -EAGAIN)
		return try_again(req);
	if (got == -EOPNOTSUPP && req->uncached) {
		req->uncached = false;
		req->uncached_refused = true;
		return false;
	}
	switch (req->kind) {
	case IO_READ:
	case IO_WRITE: return got < 0 ? end_with(req, got) : add_moved(req, (uint64_t)got);
	case IO_WRITEBACK:
		/* Only a hint, and not every file system takes it. */
		if (got == -EINVAL || got == -ESPIPE || got == -ENOSYS || got == -EOPNOTSUPP)
			got = 0;
		return end_with(req, MIN(got, (int64_t)0));
	case IO_SYNC:
	case IO_WORK: return end_with(req, MIN(got, (int64_t)0));
	}
	abort();
}

const struct iovec *io_req_rest(struct io_req *req, unsigned *n)
{
	uint64_t skip = req->done_len;
	unsigned i = 0;

	while (i < req->n_iov && skip >= req->iov[i].iov_len)
		skip -= req->iov[i++].iov_len;
	*n = req->n_iov - i;
	if (!skip || i == req->n_iov)
		return &req->iov[i];
	/* Inside a buffer: its remainder alone, in the room every request has for that, so that
	 * resuming never allocates and never fails. */
	req->rest.iov_base = (char *)req->iov[i].iov_base + skip;
	req->rest.iov_len = req->iov[i].iov_len - skip;
	*n = 1;
	return &req->rest;
}
