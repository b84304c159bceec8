/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How long requests took lately: finer than what bpull_disk_get_stats() tells, and forgetting. */
#ifndef BLOCKPULL_CORE_LATENCY_H
#define BLOCKPULL_CORE_LATENCY_H

#include <stdint.h>

#include "io/base.h"

/* Cells a doubling of the time: each is a sixteenth of it wide. */
#define LATENCY_BITS 4
/* Up to a minute, which all longer ones count as. */
#define LATENCY_CELLS ((36 - LATENCY_BITS + 1) << LATENCY_BITS)

struct latency {
	uint64_t mark_ns;   /* what took so long is late; 0: nothing is noted */
	uint32_t n, n_late; /* since the last latency_take() */
	struct {
		uint32_t n;
		uint32_t cells[LATENCY_CELLS];
	} halves[2]; /* of what was lately: this one, and the one before */
};

/* A request took so long. */
void latency_note(struct latency *latency, uint64_t ns);
/* How many there were since the last call, and how many of them were late. */
void latency_take(struct latency *latency, uint32_t *n, uint32_t *n_late);
/* What so many of a thousand took at most lately, within a sixteenth; 0: none was noted. */
uint64_t latency_permille(const struct latency *latency, unsigned permille);
/* What was noted before the last call is not lately any more. */
void latency_forget(struct latency *latency);
/* Begins anew. */
void latency_start(struct latency *latency, uint64_t mark_ns);

#endif
