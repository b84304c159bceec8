/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that compress and write compressed clusters. */
#ifndef BLOCKPULL_COPY_COMPRESS_H
#define BLOCKPULL_COPY_COMPRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;
struct encode;
struct iovec;

/* A run that is written compressed; NULL pointers in others. */
struct run_compress {
	bool is_on;
	uint32_t *lens;    /* for each cluster of the run: bytes in whole sectors, 0: plain */
	uint32_t n_chosen; /* of them it is decided whether to compress them */
	struct encode *encodes;
	struct iovec *iovs;
	uint8_t *whole; /* all of a cluster larger than the buffer */
	uint32_t held;  /* counted in engine->comp_len */
};

/* Counts the memory that compressing a large cluster will take. */
void copy_run_begin_compress(struct copy_run *p);
/* Frees what compressing took; no request is in flight. */
void copy_run_free_compress(struct copy_run *p);
/* The phase COMPRESS. */
enum step copy_run_compress(struct copy_run *p);

#endif
