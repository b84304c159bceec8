/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The inside of the io_uring backend: uring.c is the backend and takes what ended,
 * uring_submit.c decides what does a request, uring_queue.c hands requests to the kernel,
 * uring_open.c makes the ring, and uring_tables.c keeps what is registered with it.
 */
#ifndef BLOCKPULL_IO_BACKENDS_URING_H
#define BLOCKPULL_IO_BACKENDS_URING_H

#include <liburing.h>

#include "io/backends/workers.h"
#include "io/backends/writer.h"
#include "io/base.h"
#include "io/io.h"

#define URING_MAX_FILES 256

struct uring {
	struct io io; /* first: the ops cast back */
	struct io_uring ring;
	int wake_fd;
	bool quiet;             /* no thread waits for wake_fd: it is neither written to nor read */
	bool watches;           /* a request to watch wait()'s descriptor is with the kernel */
	bool guarded;           /* so is one to say when a while is over */
	bool recalling;         /* and one to give back what it has not begun */
	bool stuck;             /* its threads don't come: the workers do what is not begun */
	unsigned n_over;        /* requests that the kernel ended, modulo 2^32 */
	unsigned n_over_before; /* when guarded was set */
	struct __kernel_timespec guard_time;
	unsigned depth;          /* the most the kernel may hold */
	unsigned n_kernel;       /* in the submission ring or with the kernel */
	unsigned n_refusals;     /* in a row */
	struct req_list waiting; /* submitted or to be resumed, not in the ring yet */
	struct req_list done;    /* finished without the kernel */
	struct workers *workers;
	struct req_list writes; /* submitted, for the writer */
	struct writer *writer;  /* NULL: there was no such write yet */
	bool no_writer;         /* it may not be started */
	unsigned n_writing;     /* it has so many, all of writing_to */
	const struct file *writing_to;
	/* Buffered writes that wait and are with the kernel, or on their way: of one file at a
	 * time. */
	struct {
		const struct file *file;
		unsigned n;
	} ring_writes;
	struct {
		struct workers *pool; /* NULL: there was none yet */
		bool is_refused;      /* it may not be started */
	} lanes;                      /* do those of other files */

	/* uring_tables.c */
	struct {
		unsigned n_slots; /* 0: it was refused */
		const struct file *slots[URING_MAX_FILES];
	} table; /* of files */
	struct {
		char *base; /* or NULL */
		size_t len;
	} mem; /* that is registered */
};

/* Without left NULL, *left is the pool of threads that it has started before it failed, or NULL. */
int io_uring_backend_open(unsigned depth, struct io **out, struct workers **left, struct err *err);

#endif
