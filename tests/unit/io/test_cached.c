/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What pages that were looked at say of a range (io/file/cached.h), for files of any length. */
#include <criterion/criterion.h>

#include "io/base.h"
#include "io/file/cached.h"

static const uint64_t lens[] = { 1,         4096,    16 * MiB,       512 * MiB - 1,
				 512 * MiB, 5 * GiB, 1000 * GiB + 5, UINT64_C(1) << 62,
				 INT64_MAX };

Test(cached, no_file_has_more_pages_than_bits)
{
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		uint64_t step = file_cached_step(lens[i]);

		cr_expect(is_aligned(step, 128 * KiB), "%#llx", (unsigned long long)lens[i]);
		cr_expect_lt((lens[i] - 1) / step, FILE_CACHED_MAX);
		cr_expect(step == 128 * KiB || lens[i] / step >= FILE_CACHED_MAX / 2,
			  "too coarse for %#llx", (unsigned long long)lens[i]);
	}
}

Test(cached, nothing_is_cached_at_first_and_all_is_when_all_was_set)
{
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		struct file_cached c = { .step = file_cached_step(lens[i]) };

		cr_expect_not(file_cached_has(&c, 0, lens[i]));
		cr_expect_not(file_cached_has(&c, lens[i] - 1, 1));
		for (uint64_t at = 0; at < lens[i] && at / c.step < FILE_CACHED_MAX; at += c.step)
			file_cached_set(&c, at);
		cr_expect(file_cached_has(&c, 0, lens[i]));
		cr_expect(file_cached_has(&c, lens[i] - 1, 1));
	}
}

Test(cached, a_range_is_cached_when_half_of_its_pages_were)
{
	struct file_cached c = { .step = 128 * KiB };

	for (uint64_t i = 0; i < 4; i++)
		file_cached_set(&c, MiB + i * 128 * KiB);
	cr_expect(file_cached_has(&c, MiB, MiB));
	cr_expect(file_cached_has(&c, MiB, 512 * KiB));
	cr_expect_not(file_cached_has(&c, MiB + 128 * KiB, MiB), "3 of 8");
	cr_expect_not(file_cached_has(&c, MiB - 64 * KiB, MiB + 128 * KiB), "4 of 10");
	cr_expect_not(file_cached_has(&c, MiB + 512 * KiB, 64 * KiB));
	cr_expect(file_cached_has(&c, MiB + 500 * KiB, 1), "its page is the last one set");
}

/* The file is longer now than when it was looked at. */
Test(cached, what_lies_behind_is_not_cached)
{
	struct file_cached c = { .step = 128 * KiB, .bits = { [0 ... 63] = UINT64_MAX } };
	uint64_t end = FILE_CACHED_MAX * 128 * KiB;

	cr_expect(file_cached_has(&c, end - 1, 1));
	cr_expect_not(file_cached_has(&c, end - 1, 2));
	cr_expect_not(file_cached_has(&c, end, MiB));
	file_cached_set(&c, end);
	cr_expect_not(file_cached_has(&c, end, 1));
}
