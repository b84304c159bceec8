/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Cells that double are too wide to steer by: from one to the next a guest waits twice as long.
 * Keeping the last thousand times and sorting them was rejected: it costs most where there are most
 * requests.
 */
#include "engine/core/rate/latency.h"

#include <string.h>

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
	l->halves[0].cells[cell_at(ns)]++;
	l->halves[0].n++;
	l->n++;
	l->n_late += ns >= l->mark_ns;
}

void latency_take(struct latency *l, uint32_t *n, uint32_t *n_late)
{
	*n = l->n;
	*n_late = l->n_late;
	l->n = l->n_late = 0;
}

uint64_t latency_permille(const struct latency *l, unsigned permille)
{
	uint64_t n = (uint64_t)l->halves[0].n + l->halves[1].n;
	uint64_t above = n * (1000 - permille) / 1000, seen = 0;

	for (unsigned i = LATENCY_CELLS; n && i-- > 0;) {
		seen += (uint64_t)l->halves[0].cells[i] + l->halves[1].cells[i];
		if (seen > above)
			return cell_end(i);
	}
	return 0;
}

void latency_start(struct latency *l, uint64_t mark_ns)
{
	memset(l, 0, sizeof(*l));
	l->mark_ns = mark_ns;
}

void latency_forget(struct latency *l)
{
	l->halves[1] = l->halves[0];
	memset(&l->halves[0], 0, sizeof(l->halves[0]));
}
