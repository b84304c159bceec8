/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What to do with a range of the guest's disk: pure functions over the chain's
 * cached tables. They do no I/O and change nothing.
 */
#ifndef BLOCKPULL_COPY_PLAN_H
#define BLOCKPULL_COPY_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/chain/chain.h"
#include "formats/core/layer.h"

struct table_need;

enum plan_action {
	PLAN_PRESENT, /* the overlay holds it */
	PLAN_SKIP,    /* no layer holds it, or it is known to read as zeros */
	PLAN_COPY,    /* some of it must be read */
	PLAN_ZERO,    /* reads zeros, which a layer hides from the new base: needs an entry */
};

/* What to do from guest_off on, a multiple of the overlay's granule. *len: for how many bytes that
 * holds, at most to `end`: whole granules, or to the disk's end. For PLAN_COPY *len is how far the
 * overlay is unallocated. 0, TABLE_NEED or -errno. */
int plan_next(struct chain *chain, uint64_t guest_off, uint64_t end, enum plan_action *action,
	      uint64_t *len, struct table_need *need);

/* One part of a run, and where its bytes come from. */
struct plan_part {
	enum extent_kind kind; /* ZERO, DATA, COMPRESSED */
	uint32_t buf_off;      /* byte in the run */
	uint32_t len;          /* guest bytes */
	unsigned depth;        /* layer that holds it, for DATA and COMPRESSED */
	uint64_t host_off;
	uint32_t host_len; /* COMPRESSED: bytes to read */
	uint32_t skip;     /* COMPRESSED: where the part begins in the decoded cluster */
	/* COMPRESSED: a cluster of which other layers hide pieces comes in several parts. The first
	 * one reads it for all; `same` is the next part of it, 0 for none. */
	bool is_repeat;
	bool is_fed; /* another job's read gives all of it: set by ../phases/shared_read.c */
	uint32_t same;
};

/* A piece of 1 MiB in sectors, and one unaligned end for each layer. */
#define PLAN_MAX_PARTS (2048 + CHAIN_MAX_DEPTH)

struct plan {
	uint64_t guest_off;
	uint32_t len; /* bytes; rounded up to a piece: what is beyond the guest's end is zeros */
	uint32_t data_len; /* guest bytes of DATA and COMPRESSED parts, which are charged */
	unsigned n_parts;
	struct plan_part parts[PLAN_MAX_PARTS];
};

/* Fills *plan for a run of at most max_len bytes from guest_off on, below `end`, all of it
 * unallocated in the overlay. The run ends early where a whole piece needs no reading, or where
 * the plan is full, but has at least one piece. A piece is the granule, or a part of a large one;
 * guest_off and max_len are multiples of piece_len. 0, TABLE_NEED or -errno. */
int plan_run(struct chain *chain, uint64_t guest_off, uint64_t end, uint32_t max_len,
	     uint32_t piece_len, struct plan *plan, struct table_need *need);

/* A plan made extent by extent, from guest_off on: begin, add what was mapped for byte buf_off of
 * the run, in order and at most PLAN_MAX_PARTS times, and end it after len bytes, which cuts off
 * what is behind and sums it up. plan.len is the caller's to set. */
void plan_begin(struct plan *plan, uint64_t guest_off);
void plan_add(struct plan *plan, uint32_t buf_off, const struct extent *e);
void plan_end(struct plan *plan, uint32_t len);

/* How many parts from the compressed one, parts[i], on one request reads. *in_len: the bytes of
 * that request, which begins at parts[i].host_off. */
unsigned plan_neighbours(const struct plan *plan, unsigned i, uint32_t *in_len);
/* Requests that read all of it. */
unsigned plan_count_reads(const struct plan *plan);

#endif
