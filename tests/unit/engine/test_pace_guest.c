/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/rate/latency.c and pace_guest.c: a quantile is right within a sixteenth;
 * a limit that follows what a guest sees comes to where it sees its target, and stays there, on
 * devices whose latency rises gently or steeply, or is high in bursts, and is never below the
 * least rate.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/core/rate/latency.h"
#include "engine/core/rate/pace_guest.h"
#include "io/base.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)

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
		latency_start(&l, MS);
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

	latency_start(&l, MS);
	for (unsigned i = 0; i < 1000; i++)
		latency_note(&l, 100 * MS);
	latency_forget(&l);
	cr_assert_gt(latency_permille(&l, 990), 90 * MS);
	latency_forget(&l);
	cr_assert_eq(latency_permille(&l, 990), 0);
	latency_note(&l, UINT64_MAX);
	cr_assert_gt(latency_permille(&l, 990), 60000 * MS);
}

Test(latency, what_is_late_is_counted_once)
{
	static struct latency l;
	uint32_t n, n_late;

	latency_start(&l, MS);
	latency_note(&l, MS - 1);
	latency_note(&l, MS);
	latency_note(&l, 2 * MS);
	latency_take(&l, &n, &n_late);
	cr_assert(n == 3 && n_late == 2, "%u, %u late", n, n_late);
	latency_take(&l, &n, &n_late);
	cr_assert(!n && !n_late);
}

/*
 * A device. Requests of a guest wait for what is before them: each takes base_ns over the part of
 * the device that the job leaves, by chance up to five times as long. What the job writes may lie
 * in memory at first: after every_ns, or at burst_len bytes, all of it goes to the device, as fast
 * as that is, and meanwhile a request waits up to stall_ns.
 */
struct device {
	uint64_t rate, base_ns;
	unsigned steep; /* how often that is multiplied */
	uint64_t every_ns, burst_len, stall_ns;
	unsigned n_a_second; /* requests, at any time alike */
};

struct play {
	const struct device *device;
	struct pace_guest guest;
	struct latency recent;
	uint64_t now_ns, looked_ns, burst_ns, busy_ns; /* until then it writes back */
	double done, dirty;                            /* bytes */
};

static uint64_t draw_ns(const struct play *p)
{
	const struct device *d = p->device;
	double left = 1 - (p->guest.limit < d->rate ? (double)p->guest.limit / d->rate : 0.995);
	double ns = d->base_ns;

	if (left < 0.005)
		left = 0.005;
	for (unsigned i = 0; i < d->steep; i++)
		ns /= left;
	ns *= 1 + (rand() % 100 == 0) + 4.0 * (rand() % 1000) / 1000;
	if (p->now_ns < p->busy_ns)
		ns += d->stall_ns * (rand() % 1000 / 1000.0);
	return (uint64_t)ns;
}

static void write_back(struct play *p)
{
	const struct device *d = p->device;

	if (!d->stall_ns || (p->now_ns < p->burst_ns && p->dirty < d->burst_len))
		return;
	p->busy_ns = MAX(p->busy_ns, p->now_ns) + (uint64_t)(p->dirty / d->rate * SECOND);
	p->burst_ns = p->now_ns + d->every_ns;
	p->dirty = 0;
}

static void look(struct play *p, uint64_t min_rate)
{
	struct pace_guest_look look = { .min_rate = min_rate };
	uint64_t ns = p->now_ns - p->looked_ns;

	if (!pace_guest_is_due(ns, p->recent.n, false))
		return;
	latency_take(&p->recent, &look.n, &look.n_late);
	look.done_rate = (uint64_t)(p->done * SECOND / ns);
	pace_guest_step(&p->guest, &look);
	cr_assert_geq(p->guest.limit, min_rate);
	p->looked_ns = p->now_ns;
	p->done = 0;
}

/* So many seconds, of which the second half counts. */
static uint64_t play(const struct device *d, uint64_t target_ns, uint64_t min_rate, unsigned seed,
		     unsigned seconds, uint64_t *p99_ns)
{
	static struct latency all;
	struct play p = { .device = d };

	srand(seed);
	latency_start(&p.recent, target_ns);
	latency_start(&all, target_ns);
	pace_guest_step(&p.guest, &(struct pace_guest_look){ .min_rate = min_rate });
	while (p.now_ns < seconds * SECOND) {
		uint64_t ns = SECOND / d->n_a_second * 2 * (rand() % 1000) / 1000, took_ns;
		double len = (double)MIN(p.guest.limit, d->rate) * ns / SECOND;

		p.now_ns += ns;
		p.done += len;
		p.dirty += len;
		write_back(&p);
		took_ns = draw_ns(&p);
		latency_note(&p.recent, took_ns);
		if (p.now_ns >= seconds * SECOND / 2)
			latency_note(&all, took_ns);
		look(&p, min_rate);
	}
	*p99_ns = latency_permille(&all, 990);
	return p.guest.limit;
}

static void judge_p99(const struct device *devices, unsigned n, uint64_t target_ns)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned seed = 1; seed <= 10; seed++) {
			uint64_t p99_ns, limit = play(&devices[i], target_ns, 0, seed, 90, &p99_ns);

			cr_assert(p99_ns > target_ns * 8 / 10 && p99_ns < target_ns * 12 / 10,
				  "device %u, seed %u: %" PRIu64 " us, %" PRIu64 " KiB/s", i, seed,
				  p99_ns / 1000, limit / KiB);
		}
}

Test(pace_guest, the_limit_comes_to_where_the_guest_sees_its_target)
{
	static const struct device devices[] = {
		{ 100 * MiB, 500000, 1, .n_a_second = 1000 },
		{ 400 * MiB, 200000, 2, .n_a_second = 1000 },
		{ 2 * GiB, 80000, 1, .n_a_second = 3000 },
		{ 30 * MiB, 700000, 2, .n_a_second = 500 },
	};

	judge_p99(devices, ARRAY_LEN(devices), 5 * MS);
}

/* What fio saw beside a pull: nearly all requests are as fast as alone, and those that come during
 * a write-back take three times as long as they should. */
Test(pace_guest, the_target_holds_over_write_backs_and_what_is_between_them)
{
	static const struct device devices[] = {
		{ 200 * MiB, 100000, 0, 2 * SECOND, GiB, 12 * MS, 1000 },
		{ 200 * MiB, 100000, 0, 5 * SECOND, GiB, 12 * MS, 1000 },
		{ 250 * MiB, 100000, 1, 2 * SECOND, 64 * MiB, 12 * MS, 3000 },
		{ 200 * MiB, 100000, 1, SECOND / 2, GiB, 20 * MS, 3000 },
	};

	judge_p99(devices, ARRAY_LEN(devices), 4 * MS);
}

Test(pace_guest, the_least_rate_is_kept_whatever_the_guest_sees)
{
	static const struct device slow = { 20 * MiB, 20 * MS, 1, .n_a_second = 1000 };
	uint64_t p99_ns, limit = play(&slow, 5 * MS, 4 * MiB, 1, 30, &p99_ns);

	cr_assert_eq(limit, 4 * MiB, "%" PRIu64, limit);
	limit = play(&slow, 5 * MS, 0, 1, 30, &p99_ns);
	cr_assert_eq(limit, 64 * KiB, "it stands still: %" PRIu64, limit);
}

Test(pace_guest, a_guest_that_asks_nothing_is_given_no_way)
{
	struct pace_guest guest = { 0 };

	for (unsigned i = 0; i < 150; i++)
		pace_guest_step(&guest,
				&(struct pace_guest_look){ .done_rate = MIN(guest.limit, GiB) });
	cr_assert_geq(guest.limit, GiB);
	cr_assert_leq(guest.limit, 2 * GiB, "a limit that is not reached grows");
}

/* Fewer requests end while they are slow: each counts alike. */
Test(pace_guest, a_stall_that_few_requests_see_counts_as_few)
{
	struct pace_guest guest = { 0 };
	uint64_t before;

	for (unsigned i = 0; i < 40; i++)
		pace_guest_step(&guest, &(struct pace_guest_look){ 1000, 10, 100 * MiB, 0 });
	before = guest.limit;
	for (unsigned i = 0; i < 20; i++) {
		pace_guest_step(&guest, &(struct pace_guest_look){ 10, 10, 100 * MiB, 0 });
		pace_guest_step(&guest, &(struct pace_guest_look){ 990, 0, 100 * MiB, 0 });
	}
	cr_assert(guest.limit > before * 7 / 10 && guest.limit < before * 14 / 10,
		  "%" PRIu64 " of %" PRIu64, guest.limit, before);
}
