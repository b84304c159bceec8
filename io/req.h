/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A request: what is to be read, written or done, and what came of it. Its owner fills it
 * by one of the functions below and submits it (io.h); a backend attempts it, and again
 * from where the attempt ended.
 */
#ifndef BLOCKPULL_IO_REQ_H
#define BLOCKPULL_IO_REQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct file;

/* Linux 6.14; older kernels and file systems without it answer EOPNOTSUPP. */
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

enum io_kind {
	IO_READ,
	IO_WRITE,
	IO_SYNC,      /* fdatasync: covers writes completed before it was submitted */
	IO_WRITEBACK, /* start writing [off, off + len) to the device without waiting; a hint */
	IO_WORK,      /* req->work runs on a worker thread: inflate, hash, clone */
};

struct io_req {
	/* Set by the submitter; the request and its buffers stay put until it is reaped. */
	enum io_kind kind;
	struct file *file;
	uint64_t off; /* byte in the file */
	uint64_t len; /* bytes: the sum of iov, or the range of IO_WRITEBACK */
	const struct iovec *iov;
	unsigned n_iov;
	struct iovec one;                /* room for the common single buffer: iov = &one */
	int (*work)(struct io_req *req); /* IO_WORK; any thread; its value is the result */
	void *owner;                     /* the submitter's, untouched */
	bool uncached; /* IO_WRITE: start writing to the device at once and keep nothing in the page
			* cache; a hint, set after io_req_write() */
	/* IO_READ: from the device, nothing is kept in the page cache; a hint, set after
	 * io_req_read(). The cache has the last word: what can't be read so, and where that fails,
	 * is read through it. */
	bool past_cache;

	/* A hint: run on a kernel worker, not inside io_uring_enter(). May be set after
	 * io_req_*(). */
	bool offload;
	/* A hint, of a short IO_WRITE: others wait for its end. May be set after io_req_write(). */
	bool prompt;
	/* A guest waits, or may: a source that is away gives up sooner. May be set after
	 * io_req_*(). */
	bool for_guest;

	/* Out: 0 or more, or -errno. IO_READ: bytes read, less than len only at the end of the
	 * file. IO_WRITE: len. Others: 0 (IO_WORK: what work returned). */
	int64_t result;

	/* The backend's own. */
	struct io_req *next;
	uint64_t done_len;
	unsigned n_retries;
	bool uncached_refused;   /* the file system does not know uncached writes */
	bool past_cache_refused; /* nor reads past the cache */
	bool unaligned;          /* io_req_run_unaligned() does it, on a worker */
	bool in_ring;            /* uring_submit.c: counted in uring.ring_writes */
	struct iovec rest;       /* what is left of the buffer done_len lies in */
};

void io_req_read(struct io_req *req, struct file *file, void *buf, size_t len, uint64_t off);
void io_req_write(struct io_req *req, struct file *file, const void *buf, size_t len, uint64_t off);
void io_req_sync(struct io_req *req, struct file *file);
void io_req_writeback(struct io_req *req, struct file *file, uint64_t len, uint64_t off);
void io_req_work(struct io_req *req, int (*work)(struct io_req *req));

/* A buffered write which the kernel does in turn with others to the same file. */
bool io_req_is_in_turn(const struct io_req *req);

/* For backends: takes what one attempt gave (bytes or -errno), and says whether the request is
 * finished (true; result set) or must be tried again from done_len on. EINTR and EAGAIN are
 * retried a bounded number of times, short transfers resumed, a write of 0 bytes is an error. */
bool io_req_attempt(struct io_req *req, int64_t got);
/* The descriptor that its next attempt is to use. */
int io_req_fd(const struct io_req *req);
/* What is left of the vector after done_len bytes; n entries through *n. */
const struct iovec *io_req_rest(struct io_req *req, unsigned *n);

#endif
