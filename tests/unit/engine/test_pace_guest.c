/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/latency.c and pace_guest.c: a quantile is right within a sixteenth; a
 * limit that follows what a guest sees comes to where it sees its target, and stays there, on
 * devices whose latency rises gently or steeply, and is never below the least rate.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/core/latency.h"
#include "engine/core/pace_guest.h"
#include "io/base.h"

#define MS UINT64_C(1000000)

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

Test(latency, a_quantile_is_right_within_a_sixteenth)
{
	static struct latency l;
	uint64_t times[1000];

	cr_assert_eq(latency_permille(&l, 990), 0);
	for (unsigned seed = 1; seed <= 50; seed++) {
		srand(seed);
		latency_start(&l, true);
		for (unsigned i = 0; i < 1000; i++) {
			times[i] = (uint64_t)rand() % (UINT64_C(1) << (4 + seed % 28));
			latency_note(&l, times[i]);
		}
		qsort(times, 1000, sizeof(*times), by_value);
		for (unsigned permille = 500; permille <= 1000; permille += 5) {
			uint64_t got = latency_permille(&l, permille);
			uint64_t want = times[MAX(permille, 1u) - 1];

			cr_assert(got >= want && got <= want + want / 16 + 1,
				  "seed %u: %u: %" PRIu64 ", not %" PRIu64, seed, permille, got,
				  want);
		}
	}
}

Test(latency, what_was_is_forgotten)
{
	static struct latency l;

	for (unsigned i = 0; i < 1000; i++)
		latency_note(&l, 100 * MS);
	for (unsigned i = 0; i < 12; i++)
		latency_forget(&l);
	cr_assert_eq(l.n, 0);
	latency_note(&l, UINT64_MAX);
	cr_assert_gt(latency_permille(&l, 990), 60000 * MS);
}

/* A device: a guest's requests wait for what is before them. Each takes base_ns over the part of
 * the device that the job leaves, by chance up to five times as long. */
struct device {
	uint64_t rate, base_ns;
	unsigned steep; /* how often that is multiplied */
};

static uint64_t draw_ns(const struct device *d, uint64_t job_rate)
{
	double left = 1 - (job_rate < d->rate ? (double)job_rate / d->rate : 0.995);
	double ns = d->base_ns;

	if (left < 0.005)
		left = 0.005;
	for (unsigned i = 0; i < d->steep; i++)
		ns /= left;
	return (uint64_t)(ns * (1 + (rand() % 100 == 0) + 4.0 * (rand() % 1000) / 1000));
}

static uint64_t play(const struct device *d, uint64_t target_ns, uint64_t min_rate, unsigned seed,
		     unsigned n_steps, unsigned n_requests, uint64_t *mean_p99_ns)
{
	static struct latency recent, all;
	struct pace_guest guest = { 0 };
	uint64_t done, n_seen = 0;

	srand(seed);
	latency_start(&recent, true);
	latency_start(&all, true);
	pace_guest_step(&guest, &(struct pace_guest_look){ .min_rate = min_rate });
	for (unsigned step = 0; step < n_steps; step++) {
		struct pace_guest_look look = { .target_ns = target_ns, .min_rate = min_rate };

		done = MIN(guest.limit, d->rate);
		for (unsigned i = 0; i < n_requests; i++) {
			uint64_t ns = draw_ns(d, done);

			latency_note(&recent, ns);
			if (step >= n_steps / 2) {
				latency_note(&all, ns);
				n_seen++;
			}
		}
		look.p99_ns = latency_permille(&recent, 990);
		look.done_rate = done;
		pace_guest_step(&guest, &look);
		latency_forget(&recent);
		cr_assert_geq(guest.limit, min_rate, "seed %u", seed);
	}
	*mean_p99_ns = n_seen ? latency_permille(&all, 990) : 0;
	return guest.limit;
}

Test(pace_guest, the_limit_comes_to_where_the_guest_sees_its_target)
{
	static const struct device devices[] = {
		{ 100 * MiB, 500000, 1 },
		{ 400 * MiB, 200000, 2 },
		{ 2 * GiB, 80000, 1 },
		{ 30 * MiB, 700000, 2 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(devices); i++)
		for (unsigned seed = 1; seed <= 20; seed++) {
			uint64_t target_ns = 5 * MS, p99_ns;

			play(&devices[i], target_ns, 0, seed, 120, 500, &p99_ns);
			cr_assert(p99_ns > target_ns * 8 / 10 && p99_ns < target_ns * 12 / 10,
				  "device %u, seed %u: %" PRIu64 " us", i, seed, p99_ns / 1000);
		}
}

Test(pace_guest, the_least_rate_is_kept_whatever_the_guest_sees)
{
	static const struct device slow = { 20 * MiB, 20 * MS, 1 };
	uint64_t p99_ns, limit = play(&slow, 5 * MS, 4 * MiB, 1, 60, 500, &p99_ns);

	cr_assert_eq(limit, 4 * MiB, "%" PRIu64, limit);
	limit = play(&slow, 5 * MS, 0, 1, 60, 500, &p99_ns);
	cr_assert_eq(limit, 64 * KiB, "it stands still: %" PRIu64, limit);
}

Test(pace_guest, a_guest_that_asks_nothing_is_given_no_way)
{
	struct pace_guest guest = { 0 };

	for (unsigned i = 0; i < 60; i++)
		pace_guest_step(&guest,
				&(struct pace_guest_look){ .target_ns = 5 * MS,
							   .done_rate = MIN(guest.limit, GiB) });
	cr_assert_geq(guest.limit, GiB);
	cr_assert_leq(guest.limit, 2 * GiB, "a limit that is not reached grows");
}
