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
	bool watches;           /* the kernel has a request that polls wait()'s descriptor */
	bool guarded;           /* it has a timeout, after which n_over is looked at */
	bool recalling;         /* it has a request to cancel all that it has not begun */
	bool stuck;             /* its threads don't come: workers do what it has not begun */
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
	bool no_writer;         /* its thread could not be started */
	unsigned n_writing;     /* writes that it has, all to writing_to */
	const struct file *writing_to;
	/* Buffered writes that may wait and that the kernel has, or will get: to one file at a
	 * time. */
	struct {
		const struct file *file;
		unsigned n;
	} ring_writes;
	/* The workers that do such writes to other files meanwhile. */
	struct {
		struct workers *pool; /* NULL: none was needed yet */
		bool is_refused;      /* none could be started */
	} lanes;

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

/* On error *left becomes the pool of threads that was started before, or NULL; with left NULL the
 * pool is freed. */
int io_uring_backend_open(unsigned depth, struct io **out, struct workers **left, struct err *err);

#endif
