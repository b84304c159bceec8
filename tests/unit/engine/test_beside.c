/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Promises of engine/core/rate/beside.h: runs beside a guest are long where that takes a moment. */
#include <criterion/criterion.h>

#include "engine/core/rate/beside.h"

#define US UINT64_C(1000)

/* After n full runs on a device that takes so long for each KiB, and as long again for each run. */
static uint64_t settled(uint64_t len, unsigned n, uint64_t ns_a_kib, uint64_t ns_a_run)
{
	while (n--)
		len = beside_next_len(len, len, ns_a_run + len / KiB * ns_a_kib);
	return len;
}

Test(beside, runs_are_long_in_memory)
{
	cr_expect_eq(settled(BESIDE_MIN_LEN, 2, 700, 20 * US), 1024 * KiB);
	cr_expect_eq(settled(BESIDE_MIN_LEN, 100, 100, 0), BESIDE_MAX_LEN);
}

Test(beside, runs_are_short_on_a_slow_device)
{
	cr_expect_eq(settled(BESIDE_MIN_LEN, 100, 10 * US, 0), BESIDE_MIN_LEN);
	cr_expect_eq(settled(BESIDE_MAX_LEN, 2, 10 * US, 0), BESIDE_MIN_LEN);
	cr_expect_eq(settled(BESIDE_MAX_LEN, 100, 0, 8000 * US), BESIDE_MIN_LEN);
}

Test(beside, a_length_that_takes_about_a_millisecond_stays)
{
	for (uint64_t ns = 100; ns < 20 * US; ns += 100) {
		uint64_t len = settled(BESIDE_MIN_LEN, 100, ns, 0);

		cr_expect_eq(settled(len, 1, ns, 0), len, "%u ns a KiB", (unsigned)ns);
		cr_expect(len == BESIDE_MIN_LEN || len / KiB * ns < 2 * BESIDE_SHORT_NS,
			  "%u ns a KiB", (unsigned)ns);
		cr_expect(len == BESIDE_MAX_LEN || len / KiB * ns >= BESIDE_SHORT_NS, "%u ns a KiB",
			  (unsigned)ns);
	}
}

Test(beside, of_a_run_that_was_cut_short_nothing_is_learned)
{
	cr_expect_eq(beside_next_len(512 * KiB, 64 * KiB, 1), 512 * KiB);
	cr_expect_eq(beside_next_len(512 * KiB, 256 * KiB, 1), 512 * KiB);
	cr_expect_eq(beside_next_len(512 * KiB, 320 * KiB, 1), 1024 * KiB);
}

Test(beside, but_that_one_took_long)
{
	cr_expect_eq(beside_next_len(1024 * KiB, 4 * KiB, BESIDE_LONG_NS + 1), 512 * KiB);
	cr_expect_eq(beside_next_len(1024 * KiB, 4 * KiB, BESIDE_LONG_NS), 1024 * KiB);
}
