/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Cells that double are too wide to steer by: from one to the next a guest waits twice as long.
 * Keeping the last thousand times and sorting them was rejected: it costs most where there are most
 * requests.
 */
#include "engine/core/latency.h"

#include <string.h>

/* So many tell their 99th of a hundred by themselves. */
#define ENOUGH 400

#define PER_DOUBLING (UINT64_C(1) << LATENCY_BITS)

static unsigned cell_at(uint64_t ns)
{
	unsigned shift;
	uint64_t cell;

	if (ns < PER_DOUBLING)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - LATENCY_BITS;
	cell = ((uint64_t)(shift + 1) << LATENCY_BITS) + ((ns >> shift) - PER_DOUBLING);
	return (unsigned)MIN(cell, (uint64_t)LATENCY_CELLS - 1);
}

/* The longest time of a cell. */
static uint64_t cell_end(unsigned cell)
{
	unsigned shift = cell >> LATENCY_BITS;

	if (!shift)
		return cell;
	return ((PER_DOUBLING + (cell & (PER_DOUBLING - 1)) + 1) << (shift - 1)) - 1;
}

void latency_note(struct latency *l, uint64_t ns)
{
	l->cells[cell_at(ns)]++;
	l->n++;
}

uint64_t latency_permille(const struct latency *l, unsigned permille)
{
	uint64_t above = (uint64_t)l->n * (1000 - permille) / 1000, seen = 0;

	for (unsigned i = LATENCY_CELLS; l->n && i-- > 0;) {
		seen += l->cells[i];
		if (seen > above)
			return cell_end(i);
	}
	return 0;
}

void latency_start(struct latency *l, bool is_on)
{
	memset(l, 0, sizeof(*l));
	l->is_on = is_on;
}

void latency_forget(struct latency *l)
{
	if (l->n >= ENOUGH) {
		latency_start(l, l->is_on);
		return;
	}
	l->n = 0;
	for (unsigned i = 0; i < LATENCY_CELLS; i++) {
		l->cells[i] /= 2;
		l->n += l->cells[i];
	}
}
