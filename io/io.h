/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One small batch interface over three backends: uring (the default), threads
 * (where io_uring is forbidden) and sim (tests/machine/sim.c: seeded order, faults,
 * power cuts). The owner thread submits requests, reaps finished ones and
 * otherwise waits; nothing else touches a struct io.
 *
 * A submission cannot fail: every error is the result of its own request, so
 * none can be dropped. Requests are never linked: a short write would let a
 * linked flush run first. Order is the caller's, by waiting.
 */
#ifndef BLOCKPULL_IO_H
#define BLOCKPULL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/err.h"
#include "io/file.h"

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

	/* A hint: run on a kernel worker, not inside io_uring_enter(). May be set after
	 * io_req_*(). */
	bool offload;

	/* Out: 0 or more, or -errno. IO_READ: bytes read, less than len only at the end of the
	 * file. IO_WRITE: len. Others: 0 (IO_WORK: what work returned). */
	int64_t result;

	/* The backend's own. */
	struct io_req *next;
	uint64_t done_len;
	unsigned n_retries;
	bool uncached_refused; /* the file system does not know that */
	bool unaligned;        /* io_req_run_unaligned() does it, on a worker */
	struct iovec rest;     /* what is left of the buffer done_len lies in */
};

void io_req_read(struct io_req *req, struct file *file, void *buf, size_t len, uint64_t off);
void io_req_write(struct io_req *req, struct file *file, const void *buf, size_t len, uint64_t off);
void io_req_sync(struct io_req *req, struct file *file);
void io_req_writeback(struct io_req *req, struct file *file, uint64_t len, uint64_t off);
void io_req_work(struct io_req *req, int (*work)(struct io_req *req));

struct io;

struct io_ops {
	const char *name;
	/* The kernel holds on to files for a while after the process was killed
	 * (file_open.outlives). */
	bool outlives;
	/* Takes the request over; it may wait inside until kick(). */
	void (*submit)(struct io *io, struct io_req *req);
	/* Hands everything submitted so far to the kernel or the workers. */
	void (*kick)(struct io *io);
	/* kick() in two parts. What was submitted goes where the kernel looks for it: true if it is
	 * to be told, by enter(), which touches nothing that the calls below touch. NULL: only
	 * kick(). */
	bool (*feed)(struct io *io);
	void (*enter)(struct io *io);
	/* Up to max finished requests into out; never blocks. Returns how many. */
	unsigned (*reap)(struct io *io, struct io_req **out, unsigned max);
	/* Becomes readable when reap() has something to return. Spurious wake-ups are legal, and
	 * waiting may end with EINTR without any signal: uring finishes requests on the thread
	 * that submitted them. */
	int (*fd)(const struct io *io);
	/* Whether a thread is going to wait for the descriptor. Off, it need not tell of anything,
	 * and reap() leaves it alone; switched on again it is readable where reap() would return
	 * something. On at first. NULL: it always tells. */
	void (*tell)(struct io *io, bool on);
	/* After feed(), while told that no thread waits for fd(): hands over what was fed and
	 * sleeps until something has completed, fd (which watches fd() and what else the caller
	 * waits for) is readable, or timeout_ms are over (-1: never). May end for nothing. 0 or
	 * -errno. NULL: there is no such way. */
	int (*wait)(struct io *io, int fd, int timeout_ms);
	/* A hint: this memory will be used for most transfers. Failure is silent. It stays mapped
	 * until destroy() or the next call, which replaces it (NULL: by nothing). No request may
	 * be in flight. */
	void (*use_memory)(struct io *io, void *base, size_t len);
	/* Would reap() return something, without a look at workers and the kernel's longer ways?
	 * NULL: no. */
	bool (*has_done)(const struct io *io);
	/* Files may be registered on open and must be forgotten before file_close(). */
	void (*add_file)(struct io *io, struct file *file);
	void (*forget_file)(struct io *io, struct file *file);
	/* No request may be in flight. */
	void (*destroy)(struct io *io);
	/* In a child of fork(): closes the child's descriptors and does nothing that the parent
	 * could see. NULL: there are none. */
	void (*leave)(struct io *io);
};

struct io {
	const struct io_ops *ops;
	unsigned n_in_flight; /* submitted and not reaped */
};

enum io_choice {
	IO_CHOICE_AUTO, /* uring if it really works, its kernel threads too; else threads */
	IO_CHOICE_URING,
	IO_CHOICE_THREADS,
};

/* depth: requests the kernel may hold at once. Errors: -ENOTSUP with a sentence where uring was
 * asked for by name and is refused here; -EAGAIN, with a sentence, where no thread may be started;
 * -ENOMEM. */
int io_open(enum io_choice choice, unsigned depth, struct io **out, struct err *err);
int io_uring_backend_open(unsigned depth, struct io **out, struct err *err);
int io_threads_backend_open(unsigned n_threads, struct io **out, struct err *err);

/* These wrap the table: they check preconditions (range not wrapping, iov sum) and count. */
void io_submit(struct io *io, struct io_req *req);
void io_kick(struct io *io);
bool io_feed(struct io *io); /* false, too, where kick() is not in two parts, and did it all */
void io_enter(struct io *io);
bool io_can_wait(const struct io *io);
int io_wait(struct io *io, int fd, int timeout_ms);
unsigned io_reap(struct io *io, struct io_req **out, unsigned max);
int io_fd(const struct io *io);
void io_set_notify(struct io *io, bool on);
bool io_has_done(const struct io *io);
void io_close(struct io *io);
/* For a child of fork(), once; the memory stays. */
void io_leave(struct io *io);

/* unaligned.c. O_DIRECT would refuse it. */
bool io_req_is_unaligned(const struct io_req *req);
/* All of it with blocking calls; sets the result. On a worker. */
void io_req_run_unaligned(struct io_req *req);

/* threads.c. The same for any request, and the way of the threads backend. */
void io_req_run_here(struct io_req *req);
/* For backends: takes what one attempt gave (bytes or -errno), and says whether the request is
 * finished (true; result set) or must be tried again from done_len on. EINTR and EAGAIN are
 * retried a bounded number of times, short transfers resumed, a write of 0 bytes is an error. */
bool io_req_attempt(struct io_req *req, int64_t got);
/* What is left of the vector after done_len bytes; n entries through *n. */
const struct iovec *io_req_rest(struct io_req *req, unsigned *n);

#endif
