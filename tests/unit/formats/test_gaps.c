/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of formats/core/gaps.h, function by function: gaps_add(), gaps_take(),
 * gaps_absorb(); and all of them against a map of single units. What the list
 * has may be less than what came back (it forgets), never more, and never twice.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/core/gaps.h"
#include "io/base.h"

#define N_SEEDS 1500
#define UNITS   400

static void expect(const struct gaps *gaps, unsigned n, uint64_t host_off, uint64_t len)
{
	cr_assert_eq(gaps->n, n, "%u pieces", gaps->n);
	for (unsigned i = 0; i < n; i++)
		if (gaps->list[i].host_off == host_off && gaps->list[i].len == len)
			return;
	cr_assert_fail("[%" PRIu64 ", +%" PRIu64 ") is not there", host_off, len);
}

Test(gaps, neighbours_are_joined_on_both_sides)
{
	struct gaps gaps = { 0 };

	gaps_add(&gaps, 100, 10);
	expect(&gaps, 1, 100, 10);
	gaps_add(&gaps, 90, 10);
	expect(&gaps, 1, 90, 20);
	gaps_add(&gaps, 110, 5);
	expect(&gaps, 1, 90, 25);
	gaps_add(&gaps, 116, 4); /* one byte apart */
	expect(&gaps, 2, 116, 4);
	gaps_add(&gaps, 80, 9);
	expect(&gaps, 3, 80, 9);
	gaps_add(&gaps, 115, 1); /* the one between two */
	expect(&gaps, 2, 90, 30);
	gaps_add(&gaps, 89, 1);
	expect(&gaps, 1, 80, 40);
}

Test(gaps, takes_the_front_of_a_piece_and_all_of_it)
{
	struct gaps gaps = { 0 };
	uint64_t host_off = 1, got = 1;

	cr_assert_not(gaps_take(&gaps, 10, &host_off, &got));
	gaps_add(&gaps, 0, 10);
	cr_assert(gaps_take(&gaps, 4, &host_off, &got));
	cr_assert(host_off == 0 && got == 4);
	expect(&gaps, 1, 4, 6);
	cr_assert(gaps_take(&gaps, 7, &host_off, &got), "no more than there is");
	cr_assert(host_off == 4 && got == 6);
	cr_assert_not(gaps_take(&gaps, 1, &host_off, &got), "a piece that is used up is gone");
	gaps_add(&gaps, 8, 3);
	cr_assert(gaps_take(&gaps, 3, &host_off, &got));
	cr_assert(host_off == 8 && got == 3 && gaps.n == 0);
}

Test(gaps, only_what_ends_there_is_absorbed)
{
	struct gaps gaps = { 0 };

	cr_assert_eq(gaps_absorb(&gaps, 50), 50);
	gaps_add(&gaps, 10, 10);
	gaps_add(&gaps, 40, 10);
	cr_assert_eq(gaps_absorb(&gaps, 49), 49);
	cr_assert_eq(gaps_absorb(&gaps, 51), 51);
	cr_assert_eq(gaps_absorb(&gaps, 40), 40, "it begins there");
	cr_assert_eq(gaps_absorb(&gaps, 50), 40);
	expect(&gaps, 1, 10, 10);
	cr_assert_eq(gaps_absorb(&gaps, 20), 10);
	cr_assert_eq(gaps.n, 0);
}

Test(gaps, far_away_they_are_the_same)
{
	uint64_t end = UINT64_MAX, host_off, got;
	struct gaps gaps = { 0 };

	gaps_add(&gaps, end - 10, 10);
	gaps_add(&gaps, end - 20, 10);
	expect(&gaps, 1, end - 20, 20);
	gaps_add(&gaps, UINT64_C(1) << 32, 8);
	gaps_add(&gaps, 0, 8);
	cr_assert_eq(gaps.n, 3, "the lower half of an offset is not all of it");
	cr_assert_eq(gaps_absorb(&gaps, end), end - 20);
	cr_assert_eq(gaps_absorb(&gaps, (UINT64_C(1) << 32) + 8), UINT64_C(1) << 32);
	cr_assert(gaps_take(&gaps, UINT64_MAX, &host_off, &got));
	cr_assert(host_off == 0 && got == 8);
}

Test(gaps, a_full_list_forgets_and_still_joins)
{
	struct gaps gaps = { 0 };

	for (uint64_t i = 0; i < GAPS_MAX + 3; i++)
		gaps_add(&gaps, 10 * i, 5);
	expect(&gaps, GAPS_MAX, 10 * (GAPS_MAX - 1), 5);
	gaps_add(&gaps, 5, 5); /* between the first two: room for one more */
	expect(&gaps, GAPS_MAX - 1, 0, 15);
	gaps_add(&gaps, 10000, 1);
	expect(&gaps, GAPS_MAX, 10000, 1);
	gaps_add(&gaps, 20000, 1);
	cr_assert_eq(gaps.n, GAPS_MAX);
}

/* ---- against a map ---- */

struct twin {
	struct gaps gaps;
	bool is_free[UNITS]; /* it came back, and was not taken */
};

static void check(const struct twin *t, unsigned seed)
{
	bool seen[UNITS] = { false };

	cr_assert_leq(t->gaps.n, GAPS_MAX, "seed %u", seed);
	for (unsigned i = 0; i < t->gaps.n; i++) {
		const struct gap *gap = &t->gaps.list[i];

		cr_assert(gap->len && gap->host_off + gap->len <= UNITS, "seed %u", seed);
		for (uint64_t u = gap->host_off; u < gap->host_off + gap->len; u++) {
			cr_assert(t->is_free[u] && !seen[u], "seed %u: unit %" PRIu64 " is %s",
				  seed, u, seen[u] ? "there twice" : "in use");
			seen[u] = true;
		}
		for (unsigned k = 0; k < i; k++)
			cr_assert(gap->host_off + gap->len != t->gaps.list[k].host_off &&
					  t->gaps.list[k].host_off + t->gaps.list[k].len !=
						  gap->host_off,
				  "seed %u: two pieces touch", seed);
	}
	for (unsigned u = 0; t->gaps.n < GAPS_MAX && u < UNITS; u++)
		cr_assert(seen[u] == t->is_free[u], "seed %u: unit %u is forgotten", seed, u);
}

static void set(struct twin *t, uint64_t from, uint64_t len, bool is_free)
{
	for (uint64_t u = from; u < from + len; u++)
		t->is_free[u] = is_free;
}

static void change(struct twin *t, unsigned seed)
{
	uint64_t from = (uint64_t)rand() % UNITS, len = 0, want = 1 + (uint64_t)rand() % 9, got;

	switch (rand() % 4) {
	case 0:
	case 1: /* what is in use comes back */
		while (len < want && from + len < UNITS && !t->is_free[from + len])
			len++;
		if (!len)
			return;
		gaps_add(&t->gaps, from, len);
		set(t, from, len, true);
		return;
	case 2:
		if (!gaps_take(&t->gaps, want, &from, &got))
			return;
		cr_assert(got && got <= want, "seed %u", seed);
		set(t, from, got, false);
		return;
	default:
		got = gaps_absorb(&t->gaps, from);
		cr_assert_leq(got, from, "seed %u", seed);
		set(t, got, from - got, false);
		return;
	}
}

Test(gaps, agree_with_a_map)
{
	for (unsigned seed = 1; seed <= N_SEEDS; seed++) {
		struct twin t = { 0 };

		srand(seed);
		for (unsigned i = 0; i < 150; i++) {
			change(&t, seed);
			check(&t, seed);
			if (t.gaps.n == GAPS_MAX) /* from here on units may be forgotten */
				break;
		}
	}
}
