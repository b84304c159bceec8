/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How often a job walks: as long as less is owed than before, and a few times more.
 * Then its tables are taken for damaged, which must not happen to a job that
 * goes on slowly.
 */
#include <criterion/criterion.h>

#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"

TestSuite(walk, .timeout = 60);

/* Walks again with these bytes owed, in turn; true where all of them may be walked. */
static bool walk_all(const uint64_t *owed_len, size_t n)
{
	struct bpull_engine engine = { 0 };
	struct bpull_disk disk = { .engine = &engine };
	bool again = true;

	cr_assert_eq(copy_walk_open(&disk), 0);
	range_set_init(&disk.walk->owed, 16);
	disk.walk->rounds.n = 1;
	for (size_t i = 0; i < n; i++) {
		cr_assert(again, "walk %zu", i);
		range_set_clear(&disk.walk->owed);
		cr_assert_eq(range_set_add(&disk.walk->owed, 0, owed_len[i]), 0);
		again = copy_walk_again(&disk);
	}
	cr_assert_eq(disk.walk->rounds.n, n + again);
	range_set_free(&disk.walk->owed);
	copy_walk_close(&disk);
	return again;
}

#define WALK_ALL(...)                               \
	walk_all((const uint64_t[]){ __VA_ARGS__ }, \
		 sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

Test(walk, a_job_walks_as_long_as_less_is_owed)
{
	cr_assert(WALK_ALL(8192));
	cr_assert(WALK_ALL(8192, 4096, 2048, 1024, 512, 511, 510, 509, 508));
}

Test(walk, a_walk_that_found_no_less_is_borne_once)
{
	cr_assert(WALK_ALL(8192, 8192));
	cr_assert(WALK_ALL(4096, 8192));
	cr_assert_not(WALK_ALL(8192, 8192, 8192));
	cr_assert_not(WALK_ALL(4096, 8192, 8192));
	cr_assert_not(WALK_ALL(8192, 4096, 2048, 2048, 2048));
}

/* A guest writes, a run gives up: such walks come again, with better ones between them. */
Test(walk, walks_that_found_no_less_do_not_add_up)
{
	cr_assert(WALK_ALL(8192, 8192, 4096, 4096, 2048, 2048, 1024, 1024));
	cr_assert(WALK_ALL(4096, 8192, 4096, 8192, 4096, 8192));
}
