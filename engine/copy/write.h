/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that write. */
#ifndef BLOCKPULL_COPY_WRITE_H
#define BLOCKPULL_COPY_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* The pieces of a cluster larger than the buffer, or than what a rate lets through at once. */
struct run_pieces {
	uint64_t off;      /* byte of the run where the next one begins */
	uint64_t told_len; /* guest bytes of them that the job counts as copied already */
	uint64_t written;  /* bit i: piece i */
	bool known_zero;   /* the cluster's host space reads as zeros where not written */
};

/* The phase WRITE. */
enum step copy_run_write(struct copy_run *p);
/* The phase FILL. */
enum step copy_run_fill(struct copy_run *p);

#endif
