/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Counting: each request is in one cell, whose bounds are those of the public header. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "engine/blockpull.h"
#include "engine/core/rate/stats.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(stats, .timeout = TIME_LIMIT_CLOCK(60));

/* The one cell that a request which took so long is counted in. */
static unsigned cell_of(uint64_t ns)
{
	struct bpull_io_stats stats = { 0 };
	unsigned cell = BPULL_STATS_CELLS;

	stats_note_end(&stats, 0, 0, ns);
	for (unsigned i = 0; i < BPULL_STATS_CELLS; i++) {
		if (!stats.latency[i])
			continue;
		cr_assert_eq(stats.latency[i], 1, "%" PRIu64 " ns: cell %u", ns, i);
		cr_assert_eq(cell, BPULL_STATS_CELLS, "%" PRIu64 " ns: two cells", ns);
		cell = i;
	}
	cr_assert_neq(cell, BPULL_STATS_CELLS, "%" PRIu64 " ns: no cell", ns);
	return cell;
}

_Static_assert(sizeof(((struct bpull_io_stats *)0)->latency) ==
		       BPULL_STATS_CELLS * sizeof(uint64_t),
	       "the header says it twice");

Test(stats, cells_have_the_bounds_that_the_header_names)
{
	cr_assert_eq(cell_of(0), 0);
	cr_assert_eq(cell_of(1023), 0);
	for (unsigned i = 1; i < BPULL_STATS_CELLS; i++) {
		cr_assert_eq(cell_of(UINT64_C(512) << i), i, "cell %u", i);
		cr_assert_eq(cell_of((UINT64_C(1024) << i) - 1), i, "cell %u", i);
	}
	cr_assert_eq(cell_of(UINT64_MAX), BPULL_STATS_CELLS - 1);
}

Test(stats, what_failed_has_no_part_in_bytes_and_times)
{
	struct bpull_io_stats stats = { 0 };

	stats_note_end(&stats, 0, 4096, 2000);
	stats_note_end(&stats, -EIO, 512, 7000);
	stats_note_end(&stats, 0, 100, 500);
	cr_assert_eq(stats.requests, 2);
	cr_assert_eq(stats.errors, 1);
	cr_assert_eq(stats.bytes, 4196);
	cr_assert_eq(stats.total_ns, 2500);
	cr_assert_eq(stats.latency[0], 1);
	cr_assert_eq(stats.latency[1], 1);
	cr_assert_eq(stats.latency[3], 0);
}
