/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which reads go past the page cache (engine/copy/phases/cold.c): never what may not, or was
 * cached; a walk keeps the way that it began a layer with; the mark is left once, and who comes
 * after it reads through the cache, but for those that begin at the same time.
 */
#include <criterion/criterion.h>

#include "engine/copy/phases/cold.h"

#define SECOND UINT64_C(1000000000)
#define NOW    (100 * SECOND)

static void expect(struct cold_facts facts, bool passes, bool past_cache, bool leaves_mark)
{
	struct cold_choice choice = cold_decide(&facts);

	cr_expect_eq(choice.passes, passes);
	cr_expect_eq(choice.past_cache, past_cache);
	cr_expect_eq(choice.leaves_mark, leaves_mark);
}

Test(cold, the_first_read_of_a_cold_base_leaves_the_mark)
{
	expect((struct cold_facts){ .fits = true, .now_ns = NOW }, true, true, true);
}

Test(cold, what_was_cached_is_read_from_there_and_the_mark_is_left_all_the_same)
{
	expect((struct cold_facts){ .fits = true, .was_cached = true, .now_ns = NOW }, true, false,
	       true);
}

Test(cold, nothing_is_chosen_for_a_read_that_does_not_fit)
{
	for (unsigned i = 0; i < 8; i++)
		expect((struct cold_facts){ .was_cached = i & 1,
					    .is_begun = i & 2,
					    .passes = i & 4,
					    .now_ns = NOW },
		       false, false, false);
}

/* However long ago the mark was left, by itself or by another. */
Test(cold, a_walk_keeps_its_way)
{
	for (uint64_t age = 0; age < 10 * SECOND; age += SECOND / 4) {
		struct cold_facts facts = {
			.fits = true, .is_begun = true, .marked_ns = NOW - age, .now_ns = NOW
		};

		expect(facts, false, false, false);
		facts.passes = true;
		expect(facts, true, true, false);
		facts.was_cached = true;
		expect(facts, true, false, false);
	}
}

Test(cold, a_walk_that_finds_another_ones_mark_reads_through_the_cache)
{
	struct cold_facts facts = { .fits = true, .marked_ns = NOW - SECOND, .now_ns = NOW };

	expect(facts, false, false, false);
	facts.marked_ns = 1;
	expect(facts, false, false, false);
}

Test(cold, walks_that_begin_together_go_the_same_way)
{
	struct cold_facts facts = { .fits = true, .marked_ns = NOW, .now_ns = NOW };

	expect(facts, true, true, false);
	facts.marked_ns = NOW - SECOND + 1;
	expect(facts, true, true, false);
}
