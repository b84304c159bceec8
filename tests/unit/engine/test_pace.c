/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/rate/pace.c: a job that follows its limit is done by its deadline and not
 * long before, whatever happened meanwhile; no limit is below a floor; who is slow is found, and
 * who is only coarse is not.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/core/rate/pace.h"
#include "io/base.h"

#define NS UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static struct pace_wish within(uint64_t now_ns, uint64_t ns)
{
	return (struct pace_wish){ .within_ns = ns, .deadline_ns = now_ns + ns };
}

Test(pace, nothing_asked_for_is_no_limit)
{
	struct pace_wish wish = { 0 };

	cr_assert_eq(pace_needed_rate(&wish, 5, 1 << 20), 0);
	cr_assert_eq(pace_limit(&wish, 0), 0);
	wish.bandwidth = 7;
	cr_assert_eq(pace_limit(&wish, 0), 7);
	wish.min_rate = 9;
	cr_assert_eq(pace_limit(&wish, 0), 9, "a bandwidth below the least rate");
	wish.bandwidth = 0;
	cr_assert_eq(pace_limit(&wish, 0), 0, "a least rate limits nothing");
}

Test(pace, a_deadline_raises_a_limit_and_lowers_none)
{
	struct pace_wish wish = within(77 * NS, 100 * NS);
	uint64_t needed = pace_needed_rate(&wish, 77 * NS, 990 * MiB);

	cr_assert_eq(needed, 10 * MiB, "a hundredth of the time is for the end");
	cr_assert_eq(pace_limit(&wish, needed), 10 * MiB);
	wish.bandwidth = 4 * MiB;
	cr_assert_eq(pace_limit(&wish, needed), 10 * MiB);
	wish.bandwidth = 40 * MiB;
	cr_assert_eq(pace_limit(&wish, needed), 40 * MiB);
	wish.min_rate = 50 * MiB;
	cr_assert_eq(pace_limit(&wish, needed), 50 * MiB);
	cr_assert_gt(pace_needed_rate(&wish, 77 * NS, 0), 0, "0 would be no limit");
}

Test(pace, no_time_left_is_no_limit)
{
	struct pace_wish wish = within(0, 100 * NS);

	wish.bandwidth = 1;
	cr_assert_eq(pace_needed_rate(&wish, 99 * NS, 1), UINT64_MAX);
	cr_assert_eq(pace_limit(&wish, UINT64_MAX), 0);
	cr_assert_eq(pace_needed_rate(&wish, 500 * NS, 1), UINT64_MAX);
}

/* Follows the limit, but for times in which the device gives a part of it. Returns when all is
 * done. */
static uint64_t follow(const struct pace_wish *wish, uint64_t now_ns, uint64_t left, unsigned seed)
{
	srand(seed);
	while (left) {
		uint64_t limit = pace_limit(wish, pace_needed_rate(wish, now_ns, left));
		uint64_t permille = rand() % 4 ? 1000 : 100 + (unsigned)rand() % 900;
		uint64_t done = (limit ? limit : GiB) / 10 * permille / 1000;

		left -= MIN(left, MAX(done, UINT64_C(1)));
		now_ns += 100 * MS;
	}
	return now_ns;
}

Test(pace, a_deadline_is_met_whatever_was_lost_before)
{
	static const uint64_t times[] = { 10 * NS, 60 * NS, 1800 * NS };

	for (unsigned i = 0; i < ARRAY_LEN(times); i++)
		for (unsigned seed = 1; seed <= 50; seed++) {
			struct pace_wish wish = within(3 * NS, times[i]);
			uint64_t took_ns = follow(&wish, 3 * NS, 700 * MiB + seed, seed) - 3 * NS;

			cr_assert(took_ns * 100 >= times[i] * 97 && took_ns * 100 <= times[i] * 102,
				  "seed %u: %" PRIu64 " ms of %" PRIu64, seed, took_ns / MS,
				  times[i] / MS);
		}
}

/* Looks ten times a second for so long at a job that does `rate`, in pieces. */
static void look_at(struct pace_watch *watch, const struct pace_wish *wish, uint64_t *now_ns,
		    uint64_t *bytes, uint64_t rate, uint64_t piece, uint64_t floor, uint64_t ns)
{
	static uint64_t owed;

	for (uint64_t end_ns = *now_ns + ns; *now_ns < end_ns; *now_ns += 100 * MS) {
		owed += rate / 10;
		for (; owed >= piece; owed -= piece)
			*bytes += piece;
		pace_look(watch, wish, *now_ns, *bytes, floor);
	}
}

Test(pace, a_job_in_pieces_is_not_slow)
{
	struct pace_wish wish = { .min_rate = 10 * MiB };
	struct pace_watch watch = { 0 };
	uint64_t now_ns = NS, bytes = 0;

	for (unsigned i = 0; i < 300; i++) {
		look_at(&watch, &wish, &now_ns, &bytes, 10 * MiB, MiB, 10 * MiB, 100 * MS);
		cr_assert(!watch.is_slow && !watch.is_late, "look %u", i);
	}
}

Test(pace, who_is_behind_is_slow_then_late_and_may_recover)
{
	struct pace_wish wish = { .min_rate = 10 * MiB };
	struct pace_watch watch = { 0 };
	uint64_t now_ns = NS, bytes = 0;

	look_at(&watch, &wish, &now_ns, &bytes, 5 * MiB, 64 * KiB, 10 * MiB, NS);
	cr_assert(watch.is_slow && !watch.is_late);
	look_at(&watch, &wish, &now_ns, &bytes, 5 * MiB, 64 * KiB, 10 * MiB, 4 * NS);
	cr_assert(watch.is_slow && watch.is_late);
	look_at(&watch, &wish, &now_ns, &bytes, 40 * MiB, 64 * KiB, 10 * MiB, NS);
	cr_assert(!watch.is_slow && !watch.is_late, "what was behind is made up for");
	wish.deadline_ns = now_ns + NS;
	pace_look(&watch, &wish, now_ns, bytes, UINT64_MAX);
	cr_assert(watch.is_slow && !watch.is_late, "only the end's time is left");
	pace_look(&watch, &wish, now_ns + NS, bytes, UINT64_MAX);
	cr_assert(watch.is_slow && watch.is_late, "the time is over");
}

Test(pace, a_pause_is_not_made_up_for)
{
	struct pace_wish wish = { .min_rate = 10 * MiB };
	struct pace_watch watch = { 0 };
	uint64_t now_ns = NS, bytes = 0;

	look_at(&watch, &wish, &now_ns, &bytes, 10 * MiB, 64 * KiB, 10 * MiB, NS);
	pace_look_away(&watch);
	now_ns += 3600 * NS;
	look_at(&watch, &wish, &now_ns, &bytes, 10 * MiB, 64 * KiB, 10 * MiB, NS);
	cr_assert(!watch.is_slow && !watch.is_late);
}
