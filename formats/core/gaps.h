/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Host space that was reserved and came back unused, so that a run which
 * failed or was cancelled leaves no lost space in the file. A short list: at
 * most as many runs come back as are in flight. What does not fit is forgotten,
 * which costs space and nothing else.
 */
#ifndef BLOCKPULL_FORMATS_CORE_GAPS_H
#define BLOCKPULL_FORMATS_CORE_GAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

#define GAPS_MAX 64

struct gap {
	uint64_t host_off, len;
};

/* Gaps never touch each other. Zero-initialise. */
struct gaps {
	unsigned n;
	struct gap list[GAPS_MAX];
};

/* Adds [host_off, host_off + len), joined with its neighbours. */
void gaps_add(struct gaps *gaps, uint64_t host_off, uint64_t len);
/* Takes up to len bytes out of the list. False: it is empty. */
bool gaps_take(struct gaps *gaps, uint64_t len, uint64_t *host_off, uint64_t *got);
/* Removes the gap that ends at `end`, if there is one, and returns where it begins; else end. */
uint64_t gaps_absorb(struct gaps *gaps, uint64_t end);

#endif
