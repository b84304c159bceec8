/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/ranges/range_set.h, against an array of bytes: the set never
 * lacks what was put in and not taken out; with room it holds nothing else; it
 * keeps to its memory; and what it holds too much can be taken out from the
 * front, so that a walk always ends.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/ranges/range_set.h"
#include "io/base.h"

#define LEN 4096u

struct twin {
	struct range_set set;
	bool bytes[LEN];
	unsigned seed;
};

static unsigned draw(struct twin *t, unsigned n)
{
	return (unsigned)rand_r(&t->seed) % n;
}

static struct range at(const struct range_set *set, size_t i)
{
	return set->items[i < set->gap ? i : i + (set->room - set->n)];
}

static void check(const struct twin *t, bool exact)
{
	size_t n = 0;
	uint64_t end = 0;

	cr_assert_leq(t->set.n, t->set.max);
	for (size_t i = 0; i < t->set.n; i++) {
		struct range r = at(&t->set, i);

		cr_assert(r.lo < r.hi && (!i || r.lo > end), "ranges are sorted and apart");
		end = r.hi;
	}
	for (unsigned b = 0; b < LEN; b++) {
		bool has = range_set_meets(&t->set, b, b + 1);

		n += has;
		cr_assert(has || !t->bytes[b], "byte %u is lost", b);
		cr_assert(!exact || has == t->bytes[b], "byte %u is held", b);
	}
	cr_assert_eq(range_set_is_empty(&t->set), n == 0);
	cr_assert_eq(range_set_len(&t->set), n);
}

static void change(struct twin *t)
{
	unsigned lo = draw(t, LEN), len = draw(t, draw(t, 2) ? 16 : 600);
	unsigned hi = MIN(lo + len, LEN);
	bool add = draw(t, 2);

	if (add)
		cr_assert_eq(range_set_add(&t->set, lo, hi), 0);
	else
		range_set_remove(&t->set, lo, hi);
	for (unsigned b = lo; b < hi; b++)
		t->bytes[b] = add;
}

static void play(unsigned seed, size_t max, bool exact)
{
	struct twin t = { .seed = seed };

	range_set_init(&t.set, max);
	for (unsigned i = 0; i < 300; i++) {
		change(&t);
		if (i % 10 == 0)
			check(&t, exact);
	}
	check(&t, exact);
	/* From the front, whatever it holds: as a walk does. */
	while (!range_set_is_empty(&t.set)) {
		struct range first = range_set_from(&t.set, 0);
		uint64_t hi = MIN(first.hi, first.lo + 1 + draw(&t, 8));

		range_set_remove(&t.set, first.lo, hi);
		memset(t.bytes + first.lo, 0, hi - first.lo);
		cr_assert_not(range_set_meets(&t.set, first.lo, hi), "the front always goes");
	}
	range_set_free(&t.set);
}

Test(range_set, holds_what_it_was_told)
{
	for (unsigned seed = 1; seed <= 60; seed++) {
		cr_log_info("seed %u", seed);
		play(seed, 4096, true);
	}
}

Test(range_set, without_room_it_holds_too_much_but_never_too_little)
{
	for (unsigned seed = 1; seed <= 120; seed++) {
		cr_log_info("seed %u", seed);
		play(seed, 2 + seed % 9, false);
	}
}

/* Asked at each pair of bytes, beside the twin's. */
Test(range_set, finds_what_lies_in_a_range)
{
	struct twin t = { .seed = 7 };

	range_set_init(&t.set, 4096);
	for (unsigned i = 0; i < 60; i++) {
		unsigned lo = draw(&t, LEN), hi = lo + draw(&t, LEN - lo), first = lo, end, n = 0;
		struct range found;

		change(&t);
		while (first < hi && !t.bytes[first])
			first++;
		for (end = first; end < hi && t.bytes[end];)
			end++;
		for (unsigned b = lo; b < hi; b++)
			n += t.bytes[b];
		cr_assert_eq(range_set_len_in(&t.set, lo, hi), n);
		cr_assert_eq(range_set_find(&t.set, lo, hi, &found), first < hi);
		if (first < hi)
			cr_assert(found.lo == first && found.hi == end, "[%u, %u)", lo, hi);
	}
	range_set_free(&t.set);
}

/* With room at hand a removal takes out all; without, it is said beforehand. */
Test(range_set, room_is_made_or_refused)
{
	struct range_set set;

	range_set_init(&set, 3);
	cr_assert_eq(range_set_add(&set, 0, 100), 0);
	for (uint64_t i = 1; i <= 2; i++) {
		cr_assert(range_set_make_room(&set));
		range_set_remove(&set, 10 * i, 10 * i + 5);
		cr_assert_not(range_set_meets(&set, 10 * i, 10 * i + 5));
	}
	cr_assert_not(range_set_make_room(&set));
	range_set_free(&set);
}

Test(range_set, a_copy_with_less_room_holds_at_least_as_much)
{
	struct range_set from, to;

	range_set_init(&from, 1000);
	range_set_init(&to, 3);
	for (uint64_t i = 0; i < 100; i++)
		cr_assert_eq(range_set_add(&from, 10 * i, 10 * i + 3), 0);
	cr_assert_eq(range_set_copy(&to, &from), 0);
	for (uint64_t i = 0; i < 100; i++)
		for (uint64_t b = 10 * i; b < 10 * i + 3; b++)
			cr_assert(range_set_meets(&to, b, b + 1));
	cr_assert_leq(to.n, 3);
	range_set_free(&from);
	range_set_free(&to);
}

Test(range_set, nothing_is_added_or_taken_by_empty_ranges)
{
	struct range_set set;

	range_set_init(&set, 8);
	cr_assert_eq(range_set_add(&set, 5, 5), 0);
	cr_assert(range_set_is_empty(&set));
	cr_assert_eq(range_set_add(&set, 0, UINT64_MAX), 0);
	range_set_remove(&set, 7, 7);
	cr_assert_eq(set.n, 1);
	range_set_remove(&set, 0, UINT64_MAX);
	cr_assert(range_set_is_empty(&set));
	range_set_free(&set);
}
