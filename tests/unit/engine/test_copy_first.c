/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a walk begins that is told what to copy first: at each range of the list,
 * in its order, and at no byte twice.
 */
#include <criterion/criterion.h>

#include "engine/blockpull.h"
#include "engine/copy/walk/first.h"
#include "engine/core/ranges/range_set.h"

#define GRANULE 4096u
#define LEN     (64u * GRANULE)

TestSuite(copy_first, .timeout = 60);

static void open_list(struct copy_first *first, const struct bpull_range *ranges, size_t n)
{
	struct bpull_job_options o = { .size = sizeof(o), .first = ranges, .n_first = n };

	cr_assert(copy_first_is_sound(&o));
	cr_assert_eq(copy_first_open(first, &o, GRANULE), 0);
}

static struct range_set all(size_t max)
{
	struct range_set todo;

	range_set_init(&todo, max);
	cr_assert_eq(range_set_add(&todo, 0, LEN), 0);
	return todo;
}

/* Takes out what comes next, a granule at a time, and notes where. Returns how many came. */
static size_t take_all(struct copy_first *first, struct range_set *todo, uint64_t *lo, size_t max)
{
	struct range next;
	size_t n = 0;

	while (copy_first_next(first, todo, &next)) {
		cr_assert_lt(n, max, "it does not end");
		cr_assert(range_set_meets(todo, next.lo, next.lo + 1));
		lo[n++] = next.lo;
		range_set_remove(todo, next.lo, next.lo + GRANULE);
	}
	return n;
}

Test(copy_first, comes_in_the_order_of_the_list)
{
	const struct bpull_range ranges[] = {
		{ 40 * GRANULE + 5, 1 },
		{ 2 * GRANULE - 1, 2 },
		{ 0, 0 },
		{ 39 * GRANULE, GRANULE + 6 },
	};
	const uint64_t want[] = { 40, 1, 2, 39 };
	struct range_set todo = all(1000);
	struct copy_first first = { 0 };
	uint64_t lo[80];

	open_list(&first, ranges, 4);
	cr_assert_eq(take_all(&first, &todo, lo, 80), 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(lo[i], want[i] * GRANULE, "%zu: %zu", i, (size_t)lo[i]);
	cr_assert_eq(first.len, 4 * GRANULE, "what came twice is counted once");
	copy_first_close(&first);
	cr_assert_eq(first.len, 4 * GRANULE);
	range_set_free(&todo);
}

Test(copy_first, cuts_what_lies_behind_the_end)
{
	const struct bpull_range ranges[] = {
		{ UINT64_MAX, UINT64_MAX },    { LEN, 4096 },
		{ LEN - GRANULE, UINT64_MAX }, { UINT64_MAX - 4096, 1 },
		{ LEN - 1, UINT64_MAX - LEN },
	};
	struct range_set todo = all(1000);
	struct copy_first first = { 0 };
	uint64_t lo[80];

	open_list(&first, ranges, 5);
	cr_assert_eq(take_all(&first, &todo, lo, 80), 1);
	cr_assert_eq(lo[0], LEN - GRANULE);
	copy_first_close(&first);
	range_set_free(&todo);
}

/* What a guest waits for comes before the list, and once. */
Test(copy_first, a_hint_comes_before_the_list)
{
	const struct bpull_range range = { 8 * GRANULE, 2 * GRANULE };
	const uint64_t want[] = { 30, 31, 8, 9 };
	struct range_set todo = all(1000);
	struct copy_first first = { 0 };
	uint64_t lo[80];

	copy_first_hint(&first, (struct range){ 0, GRANULE }); /* of a job before */
	open_list(&first, &range, 1);
	copy_first_hint(&first, (struct range){ 30 * GRANULE, 32 * GRANULE });
	cr_assert_eq(take_all(&first, &todo, lo, 80), 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(lo[i], want[i] * GRANULE);
	copy_first_hint(&first, (struct range){ 8 * GRANULE, 32 * GRANULE });
	cr_assert_eq(take_all(&first, &todo, lo, 80), 20);
	copy_first_hint(&first, (struct range){ 8 * GRANULE, 32 * GRANULE });
	cr_assert_eq(take_all(&first, &todo, lo, 80), 0);
	copy_first_close(&first);
	range_set_free(&todo);
}

/* A run that put its own back is begun again at once. */
Test(copy_first, what_is_put_back_comes_again)
{
	const struct bpull_range range = { 8 * GRANULE, 2 * GRANULE };
	struct range_set todo = all(1000);
	struct copy_first first = { 0 };
	struct range next;

	open_list(&first, &range, 1);
	cr_assert(copy_first_next(&first, &todo, &next));
	range_set_remove(&todo, next.lo, next.hi);
	cr_assert_eq(range_set_add(&todo, 9 * GRANULE, 10 * GRANULE), 0);
	cr_assert(copy_first_next(&first, &todo, &next));
	cr_assert_eq(next.lo, 9 * GRANULE);
	range_set_remove(&todo, next.lo, next.hi);
	cr_assert_not(copy_first_next(&first, &todo, &next));
	copy_first_close(&first);
	range_set_free(&todo);
}

/* Nothing can be taken out of the middle of a set that is full: the walk goes on from its front. */
Test(copy_first, ends_where_the_set_is_full)
{
	struct bpull_range ranges[20];
	struct range_set todo = all(4);
	struct copy_first first = { 0 };
	uint64_t lo[80];

	for (unsigned i = 0; i < 20; i++)
		ranges[i] = (struct bpull_range){ (3 * i + 1) * GRANULE, GRANULE };
	open_list(&first, ranges, 20);
	cr_assert_eq(take_all(&first, &todo, lo, 80), 3);
	copy_first_close(&first);
	range_set_free(&todo);
}

Test(copy_first, refuses_what_is_no_list)
{
	struct bpull_range range = { 0 };
	struct bpull_job_options o = { .size = sizeof(o),
				       .first = &range,
				       .n_first = BPULL_FIRST_MAX + 1 };

	cr_assert_not(copy_first_is_sound(&o));
	o.first = NULL;
	o.n_first = 1;
	cr_assert_not(copy_first_is_sound(&o));
	o.n_first = 0;
	cr_assert(copy_first_is_sound(&o));
}
