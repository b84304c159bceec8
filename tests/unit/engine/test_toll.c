/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/rate/toll.h: a job rests for so long after its runs that a guest loses
 * one request in TOLL_PARTS to them, whatever it asks for; and not at all where it loses none.
 */
#include <criterion/criterion.h>

#include "engine/core/rate/toll.h"
#include "io/base.h"

#define MS UINT64_C(1000000)

/* A guest whose requests end at one rate while a run is in flight, and at another while none is. */
struct play {
	struct toll toll;
	uint64_t now_ns, n_over;
	uint64_t run_rate, rest_rate; /* requests a second */
	uint64_t min_rest_ns;
	double part; /* of a request, that has not ended */
	uint64_t runs_ns, rests_ns;
};

static void pass(struct play *p, uint64_t ns, uint64_t rate)
{
	double n = p->part + (double)ns * (double)rate / 1e9;

	p->now_ns += ns;
	p->n_over += (uint64_t)n;
	p->part = n - (double)(uint64_t)n;
}

/* Returns the rest that follows the last run. */
static uint64_t play(struct play *p, unsigned n_runs, uint64_t run_ns)
{
	uint64_t rest_ns = 0;

	p->runs_ns = p->rests_ns = 0;
	for (unsigned i = 0; i < n_runs; i++) {
		toll_run_begins(&p->toll, p->now_ns, p->n_over, true);
		pass(p, run_ns, p->run_rate);
		toll_run_ends(&p->toll, p->now_ns, p->n_over, true);
		rest_ns = toll_rest_ns(&p->toll, run_ns);
		pass(p, MAX(rest_ns, p->min_rest_ns), p->rest_rate);
		p->runs_ns += run_ns;
		p->rests_ns += MAX(rest_ns, p->min_rest_ns);
	}
	return rest_ns;
}

static void expect_about(uint64_t ns, uint64_t wanted_ns)
{
	cr_expect(ns >= wanted_ns - wanted_ns / 10 && ns <= wanted_ns + wanted_ns / 10,
		  "%lu us instead of %lu", ns / 1000, wanted_ns / 1000);
}

Test(toll, a_guest_that_loses_nothing_costs_no_rest)
{
	struct play p = { .run_rate = 100000, .rest_rate = 100000, .min_rest_ns = MS };

	cr_expect_leq(play(&p, 200, MS), TOLL_PARTS * MS / 50);
	p.run_rate = 150000; /* nor one that gains */
	cr_expect_eq(play(&p, 200, MS), 0);
}

Test(toll, a_guest_loses_one_request_of_so_many)
{
	struct play p = { .run_rate = 0, .rest_rate = 100000, .min_rest_ns = MS };

	expect_about(play(&p, 200, MS), TOLL_PARTS * MS);
	p.run_rate = 50000;
	expect_about(play(&p, 200, MS), TOLL_PARTS * MS / 2);
	p.run_rate = 90000;
	expect_about(play(&p, 200, MS / 2), TOLL_PARTS * MS / 20);
}

Test(toll, it_is_the_same_for_a_slow_guest_and_a_fast_one)
{
	for (uint64_t rate = 3000; rate <= 3000000; rate *= 10) {
		struct play p = { .run_rate = rate / 4, .rest_rate = rate, .min_rest_ns = MS };

		play(&p, 200, MS);
		play(&p, 200, MS);
		expect_about(p.rests_ns, 200 * TOLL_PARTS * MS * 3 / 4);
	}
}

Test(toll, a_guest_that_asks_for_little_is_no_evidence)
{
	struct play p = { .run_rate = 0, .rest_rate = 400, .min_rest_ns = 3 * MS };

	cr_expect_eq(play(&p, 200, MS), 0);
}

/* xorshift: the same requests each time. */
static uint64_t drawn(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Requests that end at random: about one in a thousand of these microseconds times rate_k. */
static void pass_at_random(struct play *p, uint64_t *state, uint64_t ns, uint64_t rate_k)
{
	for (uint64_t us = 0; us < ns / 1000; us++)
		p->n_over += drawn(state) % 1000 < rate_k;
	p->now_ns += ns;
}

Test(toll, chance_is_no_loss)
{
	for (uint64_t rate_k = 1; rate_k <= 30; rate_k *= 3) {
		struct play p = { 0 };
		uint64_t state = 88172645463325252, rests_ns = 0;

		for (unsigned i = 0; i < 2000; i++) {
			uint64_t rest_ns;

			toll_run_begins(&p.toll, p.now_ns, p.n_over, true);
			pass_at_random(&p, &state, MS, rate_k);
			toll_run_ends(&p.toll, p.now_ns, p.n_over, true);
			rest_ns = MAX(toll_rest_ns(&p.toll, MS), 3 * MS);
			pass_at_random(&p, &state, rest_ns, rate_k);
			rests_ns += rest_ns;
		}
		cr_expect_leq(rests_ns, UINT64_C(2000) * 3 * MS * 21 / 20,
			      "%lu000 a second: rests of %lu us", rate_k, rests_ns / 2000 / 1000);
	}
}

Test(toll, what_was_is_forgotten)
{
	struct play p = { .run_rate = 10000, .rest_rate = 100000, .min_rest_ns = MS };

	play(&p, 200, MS);
	p.run_rate = 100000;
	cr_expect_leq(play(&p, 100, MS), TOLL_PARTS * MS / 50);
	p.run_rate = 10000;
	expect_about(play(&p, 100, MS), TOLL_PARTS * MS * 9 / 10);
}

/* Time in which the guest, or the job, was away would look like requests that were lost, or like a
 * guest that asks for little. */
Test(toll, pauses_are_no_evidence)
{
	struct play p = { .run_rate = 50000, .rest_rate = 100000, .min_rest_ns = MS };
	uint64_t rest_ns = play(&p, 200, MS);

	p.now_ns += 100 * TOLL_MAX_SPELL_NS; /* the job's */
	toll_run_begins(&p.toll, p.now_ns, p.n_over, true);
	p.now_ns += MS;
	toll_run_ends(&p.toll, p.now_ns, p.n_over, false); /* the guest's */
	p.now_ns += MS;
	toll_run_begins(&p.toll, p.now_ns, p.n_over, false);
	p.now_ns += MS;
	toll_run_ends(&p.toll, p.now_ns, p.n_over, true);
	cr_expect_eq(toll_rest_ns(&p.toll, MS), rest_ns);
}

/* Of two jobs: no rest of the one in which the other copies, and no run in which the other began
 * one earlier, is a spell of its own. */
Test(toll, runs_that_overlap_are_one_spell)
{
	struct play p = { .run_rate = 0, .rest_rate = 100000, .min_rest_ns = MS };

	for (unsigned i = 0; i < 200; i++) {
		toll_run_begins(&p.toll, p.now_ns, p.n_over, true);
		pass(&p, MS / 2, p.run_rate);
		toll_run_begins(&p.toll, p.now_ns, p.n_over, true);
		pass(&p, MS / 2, p.run_rate);
		toll_run_ends(&p.toll, p.now_ns, p.n_over, true);
		pass(&p, MS / 2, p.run_rate);
		toll_run_ends(&p.toll, p.now_ns, p.n_over, true);
		pass(&p, 3 * MS, p.rest_rate);
	}
	expect_about(p.toll.runs.ns, 16 * 3 * MS / 2);
	expect_about(p.toll.rests.ns, 16 * 3 * MS);
	expect_about(toll_rest_ns(&p.toll, MS), TOLL_PARTS * MS);
}
