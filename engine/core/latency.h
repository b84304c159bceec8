/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How long requests took lately: finer than what bpull_disk_get_stats() tells, and forgetting. */
#ifndef BLOCKPULL_CORE_LATENCY_H
#define BLOCKPULL_CORE_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

/* Cells a doubling of the time: each is a sixteenth of it wide. */
#define LATENCY_BITS 4
/* Up to a minute, which all longer ones count as. */
#define LATENCY_CELLS ((36 - LATENCY_BITS + 1) << LATENCY_BITS)

struct latency {
	bool is_on; /* something is noted */
	uint32_t n;
	uint32_t cells[LATENCY_CELLS];
};

/* A request took so long. */
void latency_note(struct latency *latency, uint64_t ns);
/* What so many of a thousand took at most, within a sixteenth; 0: none was noted. */
uint64_t latency_permille(const struct latency *latency, unsigned permille);
/* A look was taken: what was noted is forgotten, or where it was little counts half from here
 * on. */
void latency_forget(struct latency *latency);
/* Begins anew. */
void latency_start(struct latency *latency, bool is_on);

#endif
