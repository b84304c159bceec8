/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The buffer pool keeps to its budget, and finds those who do not.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "io/base.h"
#include "io/buf.h"

Test(buf, slots_are_aligned_apart_and_bounded)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct buf_pool *pool = buf_pool_new(64 * KiB, 64 * KiB * 5 + 1000);
	void *bufs[5];
	size_t len;
	char *base = buf_pool_base(pool, &len);

	cr_assert_eq(buf_slot_len(pool), 64 * KiB);
	cr_assert_eq(len, 5 * 64 * KiB);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(buf_n_free(pool), 5 - i);
		bufs[i] = buf_get(pool);
		cr_assert_neq(bufs[i], NULL);
		cr_assert(is_aligned((uintptr_t)bufs[i], page));
		cr_assert((char *)bufs[i] >= base && (char *)bufs[i] + 64 * KiB <= base + len);
		memset(bufs[i], (int)i, 64 * KiB);
	}
	cr_assert_eq(buf_get(pool), NULL);
	for (unsigned i = 0; i < 5; i++) {
		const unsigned char *bytes = bufs[i];
		cr_assert(bytes[0] == i && bytes[64 * KiB - 1] == i, "slots overlap");
		buf_put(pool, bufs[i]);
	}
	cr_assert_eq(buf_n_free(pool), 5);
	buf_pool_free(pool);
}

Test(buf, the_last_one_back_is_the_next_one_out)
{
	struct buf_pool *pool = buf_pool_new(4096, 10 * 4096);
	void *a = buf_get(pool), *b = buf_get(pool);
	buf_put(pool, a);
	cr_assert_eq(buf_get(pool), a);
	buf_put(pool, b);
	buf_put(pool, a);
	buf_put(pool, NULL);
	buf_pool_free(pool);
}

Test(buf, at_least_one_slot_of_whole_pages)
{
	struct buf_pool *pool = buf_pool_new(5000, 100);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	cr_assert_eq(buf_slot_len(pool), round_up(5000, page));
	void *a = buf_get(pool);
	cr_assert_neq(a, NULL);
	cr_assert_eq(buf_get(pool), NULL);
	buf_put(pool, a);
	buf_pool_free(pool);
}

Test(buf, impossible_sizes_are_refused)
{
	cr_assert_eq(buf_pool_new(0, 100), NULL);
	cr_assert_eq(buf_pool_new(SIZE_MAX, SIZE_MAX), NULL);
}

Test(buf, small_ones_share_a_slot)
{
	struct buf_pool *pool = buf_pool_new(1 * MiB, 3 * MiB);
	char *small[40];

	for (unsigned i = 0; i < 40; i++) {
		void *whole = buf_get(pool);

		/* 16 to a slot, and one whole to begin with. */
		cr_assert_eq(!whole, i >= 33, "%u", i);
		if (!whole)
			continue;
		small[i] = buf_shrink(pool, whole, i == 32 ? 64 * KiB + 1 : 64 * KiB - i);
		cr_assert_eq(buf_n_free(pool), i < 16 ? 2 : i < 32 ? 1 : 0, "%u", i);
		cr_assert_eq(buf_len(pool, small[i]), i == 32 ? 1 * MiB : 64 * KiB);
		if (i < 32) /* what was shrunk stays as it is */
			cr_assert_eq(buf_shrink(pool, small[i], 4096), small[i]);
		memset(small[i], (int)i, i == 32 ? 1 * MiB : 64 * KiB);
	}
	for (unsigned i = 0; i < 33; i++)
		for (unsigned at = 0; at < 64 * KiB; at += 4096)
			cr_assert_eq(small[i][at], (char)i, "%u is not its own", i);
	for (unsigned i = 0; i < 33; i += 2)
		buf_put(pool, small[i]);
	cr_assert_eq(buf_n_free(pool), 1);
	/* The gaps first. */
	small[0] = buf_shrink(pool, buf_get(pool), 1);
	cr_assert_eq(buf_n_free(pool), 1);
	buf_put(pool, small[0]);
	for (unsigned i = 1; i < 33; i += 2)
		buf_put(pool, small[i]);
	cr_assert_eq(buf_n_free(pool), 3);
	buf_pool_free(pool);
}

Test(buf, small_slots_are_not_shared)
{
	struct buf_pool *pool = buf_pool_new(32 * KiB, 64 * KiB);
	void *a = buf_get(pool);

	cr_assert_eq(buf_shrink(pool, a, 1), a);
	cr_assert_eq(buf_n_free(pool), 1);
	buf_put(pool, a);
	buf_pool_free(pool);
}

Test(buf, putting_twice_is_caught, .signal = SIGABRT)
{
	struct buf_pool *pool = buf_pool_new(4096, 4 * 4096);
	void *a = buf_get(pool);
	buf_put(pool, a);
	buf_put(pool, a);
}

Test(buf, a_foreign_pointer_is_caught, .signal = SIGABRT)
{
	struct buf_pool *pool = buf_pool_new(4096, 4 * 4096);
	char *a = buf_get(pool);
	buf_put(pool, a + 1);
}

Test(buf, a_slot_still_out_is_caught, .signal = SIGABRT)
{
	struct buf_pool *pool = buf_pool_new(4096, 4 * 4096);
	buf_get(pool);
	buf_pool_free(pool);
}
