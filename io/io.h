/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One small batch interface over three backends: uring (the default), threads
 * (where io_uring is forbidden) and sim (tests/machine/files/sim.c: seeded order, faults,
 * power cuts). The owner thread submits requests, reaps finished ones and
 * otherwise waits; nothing else touches a struct io.
 *
 * A submission cannot fail: every error is the result of its own request, so
 * none can be dropped. Requests are never linked: a short write would let a
 * linked flush run first. Order is the caller's, by waiting.
 */
#ifndef BLOCKPULL_IO_H
#define BLOCKPULL_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "io/file.h"
#include "io/req.h"

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
	/* kick() in two steps. feed() puts what was submitted where the kernel looks for it: true
	 * if the kernel is to be told, by enter(), which touches nothing that the calls below
	 * touch. NULL: there is only kick(). */
	bool (*feed)(struct io *io);
	void (*enter)(struct io *io);
	/* Up to max finished requests into out; never blocks. Returns how many. */
	unsigned (*reap)(struct io *io, struct io_req **out, unsigned max);
	/* Becomes readable when reap() has something to return. Spurious wake-ups are legal, and
	 * waiting may end with EINTR without any signal: uring finishes requests on the thread
	 * that submitted them. */
	int (*fd)(const struct io *io);
	/* Whether a thread is going to wait for the descriptor. While off the descriptor need not
	 * become readable, and reap() leaves it alone; when it is switched on it is readable where
	 * reap() would return something. On at first. NULL: it is always on. */
	void (*set_notify)(struct io *io, bool on);
	/* After feed(), while set_notify() is off: hands over what was fed and sleeps until
	 * something has completed, fd is readable, or timeout_ms are over (-1: never). The caller's
	 * fd is readable where fd() is, or what else it waits for. May end for no reason. 0 or
	 * -errno. NULL: the backend can't. */
	int (*wait)(struct io *io, int fd, int timeout_ms);
	/* A hint: this memory will be used for most transfers. Failure is silent. It stays mapped
	 * until destroy() or the next call, which replaces it (NULL: by nothing). No request may
	 * be in flight. */
	void (*use_memory)(struct io *io, void *base, size_t len);
	/* reap() would return something. Looks neither at workers nor at what the kernel has still
	 * to put into its ring. NULL: never. */
	bool (*has_done)(const struct io *io);
	/* Files may be registered on open and must be forgotten before file_close(). */
	void (*add_file)(struct io *io, struct file *file);
	void (*forget_file)(struct io *io, struct file *file);
	/* For tests: a blocking call on a file begins inside a round of the engine, on the thread
	 * that runs it (blocking.h). NULL: not asked for. */
	void (*round_waits)(struct io *io);
	/* No request may be in flight. */
	void (*destroy)(struct io *io);
	/* In a child of fork(): closes the child's descriptors and does nothing that the parent
	 * could see. NULL: there are none. */
	void (*leave)(struct io *io);
};

struct io {
	const struct io_ops *ops;
	unsigned n_in_flight; /* submitted and not reaped */
	/* Requests that ended elsewhere (file_ops.submit), the last one first: any thread adds to
	 * them, the owner takes all. */
	_Atomic(struct io_req *) arrived;
	struct io_req *taken; /* of those, not reaped yet */
};

/* These wrap the table: they check preconditions (range not wrapping, iov sum) and count. */
void io_submit(struct io *io, struct io_req *req);
void io_kick(struct io *io);
bool io_feed(struct io *io); /* false also where there is only kick(), which it has called */
void io_enter(struct io *io);
bool io_can_wait(const struct io *io);
int io_wait(struct io *io, int fd, int timeout_ms);
unsigned io_reap(struct io *io, struct io_req **out, unsigned max);
int io_fd(const struct io *io);
void io_set_notify(struct io *io, bool on);
bool io_has_done(const struct io *io);
/* For file_ops.submit: the request, whose result is set, has ended. Any thread. The caller makes
 * sure that io is not closed before this returns. */
void io_arrive(struct io *io, struct io_req *req);
void io_close(struct io *io);
/* For a child of fork(), once; the memory stays. */
void io_leave(struct io *io);

#endif
