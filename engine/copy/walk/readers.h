/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Guest reads that take their bytes from a copy run: over a slow link, what a guest waits for and
 * what is copied after it is then transferred once.
 */
#ifndef BLOCKPULL_COPY_READERS_H
#define BLOCKPULL_COPY_READERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/base.h"

struct copy_run;
struct file;
struct op;

enum run_reader_state {
	READER_WAITS,  /* for the run to have read */
	READER_SERVED, /* the bytes are in its vector */
	READER_PASSED, /* the run will not read that range, or not soon: look for another run */
	READER_FAILED, /* the run could not read: the reader reads for itself */
};

/* A part of a guest's read. The struct stays where it is while it waits. */
struct run_reader {
	struct op *op; /* the read's operation, which waits until this part is served or let go */
	const struct iovec *iov;
	unsigned n_iov;
	uint64_t at;               /* byte of the vector where this part begins */
	uint64_t guest_off, len;   /* the range, which the overlay lacks */
	uint64_t with_lo, with_hi; /* that range or more: what a run begun for it should copy */
	const struct file *file;   /* the file of a layer below that holds all of it */
	enum run_reader_state state;
	bool is_late; /* the run was reading already as the reader joined */
	struct run_reader *next;
};

/* A copy run's readers. */
struct run_readers {
	struct run_reader *first; /* those that wait */
	bool is_here;             /* the run's bytes are in its buffer, as the chain holds them */
};

/* The run's bytes are in its buffer: serves all that wait. */
void run_readers_serve(struct copy_run *run);
/* The run knows where it ends: passes the readers whose range goes beyond that. */
void run_readers_trim(struct copy_run *run);
/* The run must wait for something else than its reads, or is over: passes all readers. */
void run_readers_pass(struct copy_run *run);
/* The run is in error: its readers fail, or read for themselves. */
void run_readers_fail(struct copy_run *run);
/* Copies what the reader wants out of the run's buffer. */
void run_readers_fill(const struct copy_run *run, const struct run_reader *reader);

#endif
