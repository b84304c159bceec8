/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How long requests took lately: finer than what bpull_disk_get_stats() tells, and without what is
 * long ago. */
#ifndef BLOCKPULL_CORE_LATENCY_H
#define BLOCKPULL_CORE_LATENCY_H

#include <stdint.h>

#include "io/base.h"

/* Each doubling of the time has 2^LATENCY_BITS cells, which are a sixteenth of it wide. */
#define LATENCY_BITS 4
/* Cells up to a minute; longer times count in the last one. */
#define LATENCY_CELLS ((36 - LATENCY_BITS + 1) << LATENCY_BITS)

struct latency {
	uint64_t mark_ns;   /* a request that took so long is late; 0: the caller notes none */
	uint32_t n, n_late; /* since the last latency_take() */
	struct {
		uint32_t n;
		uint32_t cells[LATENCY_CELLS];
	} halves[2]; /* what counts as lately: the present half, and the one before */
};

/* A request took ns. */
void latency_note(struct latency *latency, uint64_t ns);
/* How many requests were noted since the last call, and how many of them were late. */
void latency_take(struct latency *latency, uint32_t *n, uint32_t *n_late);
/* The time that so many of a thousand requests took at most lately, in ns, right to a sixteenth; 0:
 * none was noted. */
uint64_t latency_permille(const struct latency *latency, unsigned permille);
/* Begins a new half: what was noted before the last call does not count any more. */
void latency_forget(struct latency *latency);
/* Forgets all, and sets the mark. */
void latency_start(struct latency *latency, uint64_t mark_ns);

#endif
