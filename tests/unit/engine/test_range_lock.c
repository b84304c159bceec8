/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/ranges/range_lock.c: overlapping holders never coexist, arrival
 * order is kept between overlapping requests, and every request is served.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/core/ranges/range_lock.h"
#include "io/base.h"

#define N_LOCKS 24

struct request {
	struct range_lock lock;
	unsigned n_granted;
	uint64_t arrival;
};

static void granted(void *owner)
{
	((struct request *)owner)->n_granted++;
}

Test(range_lock, disjoint_ranges_are_held_together)
{
	struct range_locks locks = { 0 };
	struct range_lock a = { .guest_off = 0, .len = 64 }, b = { .guest_off = 64, .len = 64 };

	cr_assert(range_lock_take(&locks, &a));
	cr_assert(range_lock_take(&locks, &b));
	range_lock_release(&locks, &a, granted);
	range_lock_release(&locks, &b, granted);
	cr_assert_null(locks.first);
	cr_assert_null(locks.last);
}

Test(range_lock, a_waiter_blocks_those_behind_it)
{
	struct range_locks locks = { 0 };
	struct request r[3] = { { .lock = { .guest_off = 0, .len = 10 } },
				{ .lock = { .guest_off = 5, .len = 10 } },
				{ .lock = { .guest_off = 12, .len = 2 } } };

	for (unsigned i = 0; i < 3; i++)
		r[i].lock.owner = &r[i];
	cr_assert(range_lock_take(&locks, &r[0].lock));
	cr_assert_not(range_lock_take(&locks, &r[1].lock));
	cr_assert_not(range_lock_take(&locks, &r[2].lock), "it overlaps an earlier waiter");
	range_lock_release(&locks, &r[0].lock, granted);
	cr_assert_eq(r[1].n_granted, 1);
	cr_assert_eq(r[2].n_granted, 0);
	range_lock_release(&locks, &r[1].lock, granted);
	cr_assert_eq(r[2].n_granted, 1);
	range_lock_release(&locks, &r[2].lock, granted);
}

Test(range_lock, shrinking_lets_the_rest_go)
{
	struct range_locks locks = { 0 };
	struct request a = { .lock = { .guest_off = 0, .len = 100 } };
	struct request b = { .lock = { .guest_off = 60, .len = 10 } };

	a.lock.owner = &a;
	b.lock.owner = &b;
	range_lock_take(&locks, &a.lock);
	cr_assert_not(range_lock_take(&locks, &b.lock));
	range_lock_shrink(&locks, &a.lock, 60, granted);
	cr_assert_eq(b.n_granted, 1);
	range_lock_release(&locks, &b.lock, granted);
	range_lock_release(&locks, &a.lock, granted);
}

/* A request that holds a range for long asks whether others wait for a part of it. */
Test(range_lock, it_is_wanted_by_those_who_wait_for_a_part)
{
	struct request held = { .lock = { .guest_off = 100, .len = 50, .owner = &held } };
	struct request other = { .lock = { .owner = &other } };
	static const struct {
		uint64_t off, len;
		bool is_wanted;
	} cases[] = { { 0, 100, false }, { 0, 101, true }, { 149, 1, true },  { 150, 10, false },
		      { 100, 50, true }, { 120, 1, true }, { 0, 1000, true }, { 99, 1, false } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct range_locks locks = { 0 };

		other.lock.guest_off = cases[i].off;
		other.lock.len = cases[i].len;
		range_lock_take(&locks, &other.lock);
		range_lock_take(&locks, &held.lock);
		cr_assert_not(range_lock_is_wanted(&held.lock),
			      "who came before does not wait for it");
		range_lock_release(&locks, &other.lock, granted);
		range_lock_take(&locks, &other.lock);
		cr_assert_eq(range_lock_is_wanted(&held.lock), cases[i].is_wanted, "case %zu", i);
		range_lock_release(&locks, &other.lock, granted);
		cr_assert_not(range_lock_is_wanted(&held.lock), "it gave up");
		range_lock_release(&locks, &held.lock, granted);
	}
}

/* Behind one that does not care. */
Test(range_lock, it_is_wanted_by_any_of_several)
{
	struct range_lock held = { .guest_off = 0, .len = 10 }, far = { .guest_off = 50, .len = 1 };
	struct range_lock near = { .guest_off = 9, .len = 1 };
	struct range_locks locks = { 0 };

	range_lock_take(&locks, &held);
	range_lock_take(&locks, &far);
	cr_assert_not(range_lock_is_wanted(&held));
	range_lock_take(&locks, &near);
	cr_assert(range_lock_is_wanted(&held));
}

Test(range_lock, those_who_share_do_not_want_it)
{
	struct request a = { .lock = { .guest_off = 0, .len = 10, .is_shared = true } };
	struct request b = { .lock = { .guest_off = 5, .len = 10, .is_shared = true } };
	struct request c = { .lock = { .guest_off = 0, .len = 20 } };
	struct range_locks locks = { 0 };

	c.lock.owner = &c;
	cr_assert(range_lock_take(&locks, &a.lock));
	cr_assert(range_lock_take(&locks, &b.lock));
	cr_assert_not(range_lock_is_wanted(&a.lock));
	cr_assert_not(range_lock_take(&locks, &c.lock), "alone, it waits for both");
	cr_assert(range_lock_is_wanted(&a.lock) && range_lock_is_wanted(&b.lock));
	range_lock_release(&locks, &a.lock, granted);
	cr_assert_eq(c.n_granted, 0);
	range_lock_release(&locks, &b.lock, granted);
	cr_assert_eq(c.n_granted, 1);
	range_lock_release(&locks, &c.lock, granted);
}

static bool overlap(const struct range_lock *a, const struct range_lock *b)
{
	return a->guest_off < b->guest_off + b->len && b->guest_off < a->guest_off + a->len;
}

/* No two holders overlap, and no holder came after an overlapping waiter. */
static void check(const struct request *r, uint64_t seed)
{
	for (unsigned i = 0; i < N_LOCKS; i++)
		for (unsigned j = 0; j < N_LOCKS; j++) {
			const struct request *a = &r[i], *b = &r[j];

			if (i == j || !a->arrival || !b->arrival || !overlap(&a->lock, &b->lock))
				continue;
			cr_assert_not(a->lock.held && b->lock.held, "seed %" PRIu64, seed);
			cr_assert_not(a->lock.held && b->arrival < a->arrival, "seed %" PRIu64,
				      seed);
		}
}

Test(range_lock, random_traffic_is_exclusive_fair_and_ends)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct request r[N_LOCKS] = { 0 };
		struct range_locks locks = { 0 };
		uint64_t arrivals = 0;

		srand(seed);
		for (unsigned step = 0; step < 400; step++) {
			struct request *one = &r[rand() % N_LOCKS];

			if (!one->arrival) {
				one->lock = (struct range_lock){ .guest_off = rand() % 64,
								 .len = 1 + rand() % 16,
								 .owner = one };
				one->arrival = ++arrivals;
				range_lock_take(&locks, &one->lock);
			} else if (one->lock.held) {
				range_lock_release(&locks, &one->lock, granted);
				one->arrival = 0;
			}
			check(r, seed);
		}
		/* Waiting requests are served when the holders leave, the oldest first. */
		for (unsigned left = N_LOCKS; left--;)
			for (unsigned i = 0; i < N_LOCKS; i++)
				if (r[i].arrival && r[i].lock.held) {
					range_lock_release(&locks, &r[i].lock, granted);
					r[i].arrival = 0;
				}
		cr_assert_null(locks.first, "seed %" PRIu64 ": a request waits for ever", seed);
	}
}
