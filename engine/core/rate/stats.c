/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Counting is a few additions to lines of the cache that belong to one disk. Cells
 * that double are found by one instruction. Cells of equal width were rejected: a
 * read from the page cache and one from a tape differ by nine powers of ten.
 */
#include "engine/core/rate/stats.h"

#include "engine/blockpull.h"
#include "io/base.h"

/* Cell 0 has all that took less than 2 to the power of this, ns. */
#define FIRST_BITS 10

static unsigned cell_of(uint64_t ns)
{
	unsigned bits = ns >> FIRST_BITS ? 64 - __builtin_clzll(ns >> FIRST_BITS) : 0;

	return MIN(bits, BPULL_STATS_CELLS - 1u);
}

void stats_note_end(struct bpull_io_stats *stats, int error, uint64_t len, uint64_t took_ns)
{
	if (error) {
		stats->errors++;
		return;
	}
	stats->requests++;
	stats->bytes += len;
	stats->total_ns += took_ns;
	stats->latency[cell_of(took_ns)]++;
}
