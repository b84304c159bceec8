/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Reads of the guest's that take their bytes from a copy run: over a link that costs, what a guest
 * waits for and what is copied behind it cross once.
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
	READER_PASSED, /* the run does not read that range, or not soon: another one may */
	READER_FAILED, /* the run could not read: the reader reads for itself */
};

/* A part of a guest's read. It stays put while it waits. */
struct run_reader {
	struct op *op; /* it waits, besides for what it waits for already */
	const struct iovec *iov;
	unsigned n_iov;
	uint64_t at;               /* in the vector */
	uint64_t guest_off, len;   /* the overlay lacks it */
	uint64_t with_lo, with_hi; /* what is read with it, if nothing is there: it, or more */
	const struct file *file;   /* in which a layer below holds all of it */
	enum run_reader_state state;
	bool is_late; /* the run was reading already */
	struct run_reader *next;
};

/* Of a run. */
struct run_readers {
	struct run_reader *first; /* that wait */
	bool is_here;             /* the run's bytes are in its buffer, as the chain holds them */
};

/* The run's bytes are in its buffer: serves all that wait. */
void run_readers_serve(struct copy_run *run);
/* The run knows where it ends: lets those go that want more. */
void run_readers_trim(struct copy_run *run);
/* The run waits for others, or is over. */
void run_readers_pass(struct copy_run *run);
/* The run is in error. */
void run_readers_fail(struct copy_run *run);
/* Copies what the reader wants out of the run's buffer. */
void run_readers_fill(const struct copy_run *run, const struct run_reader *reader);

#endif
