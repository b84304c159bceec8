/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a copy run pays beside its bytes: engine/copy/walk/outside.h, a budget that the program
 * shares, and requests.h, the limit on requests.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/copy/walk/outside.h"
#include "engine/copy/walk/requests.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "io/base.h"

#define S UINT64_C(1000000000)

static uint64_t clock_ns;

uint64_t __wrap_engine_now_ns(void);
uint64_t __wrap_engine_now_ns(void)
{
	return clock_ns;
}

static struct bpull_engine engine;
static struct copy_walk walk;
static struct bpull_disk disk = { .engine = &engine, .walk = &walk };
static struct copy_run run = { .op.engine = &engine, .walk = &walk };

/* ---- a budget that the program shares ---- */

static uint64_t asked, n_asked, wait_ns;

static uint64_t ask(void *opaque, uint64_t bytes)
{
	cr_assert_eq(opaque, (void *)&asked);
	asked += bytes;
	n_asked++;
	return wait_ns;
}

static void with_budget(uint64_t data_len)
{
	engine.outside = (struct outside_budget){ .ask = ask, .opaque = &asked };
	run.plan.data_len = data_len;
}

Test(outside, without_a_budget_a_run_goes_at_once)
{
	run.plan.data_len = 4096;
	cr_assert_eq(outside_ready_ns(&run, 7), 7);
	outside_charge(&run, 7, 4096);
	cr_assert_eq(engine.outside.taken, 0);
}

Test(outside, a_run_takes_what_it_lacks_and_asks_once)
{
	with_budget(100);
	wait_ns = 5;
	cr_assert_eq(outside_ready_ns(&run, 10), 15);
	cr_assert_eq(asked, 100);
	run.plan.data_len = 160;
	cr_assert_eq(outside_ready_ns(&run, 12), 15, "it waits: nothing more is taken");
	cr_assert_eq(asked, 100);
	cr_assert_eq(outside_ready_ns(&run, 15), 20, "the rest");
	cr_assert_eq(asked, 160);
	cr_assert_eq(outside_ready_ns(&run, 20), 20);
	cr_assert_eq(n_asked, 2);
}

Test(outside, a_run_that_turns_out_longer_takes_the_rest)
{
	with_budget(100);
	outside_ready_ns(&run, 0);
	outside_charge(&run, 0, 130);
	cr_assert_eq(asked, 130);
	cr_assert_eq(engine.outside.taken, 0);
	outside_ready_ns(&run, 0);
	outside_charge(&run, 0, 60);
	cr_assert_eq(engine.outside.taken, 40, "what a run left is the next one's");
}

Test(outside, no_answer_makes_a_run_wait_for_longer_than_a_day)
{
	with_budget(1);
	wait_ns = UINT64_MAX;
	cr_assert_eq(outside_ready_ns(&run, 3), 3 + 86400 * S);
}

/* What is taken is what is used, but for what the largest run may have left. */
Test(outside, drawn_runs_take_what_they_use)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		uint64_t used = 0, now_ns = 0;

		srand(seed);
		asked = 0;
		with_budget(0);
		for (unsigned i = 0; i < 500; i++) {
			run.plan.data_len = (uint32_t)(rand() % 1000);
			wait_ns = (uint64_t)(rand() % 50);
			for (uint64_t at_ns; (at_ns = outside_ready_ns(&run, now_ns)) > now_ns;)
				now_ns = at_ns;
			outside_charge(&run, now_ns, (uint64_t)rand() % 1200);
			used = asked - engine.outside.taken;
			cr_assert_leq(engine.outside.taken, 1000, "seed %u, run %u", seed, i);
		}
		srand(seed);
		for (unsigned i = 0; i < 500; i++) {
			rand();
			rand();
			used -= (uint64_t)rand() % 1200;
		}
		cr_assert_eq(used, 0, "seed %u: %" PRIu64, seed, used);
	}
}

/* ---- the limit on requests ---- */

/* A run of n parts, each of which is one read. */
static void plan_reads(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		run.plan.parts[i] = (struct plan_part){ .kind = EXTENT_DATA, .len = 4096 };
	run.plan.n_parts = n;
	run.plan.data_len = n * 4096;
}

static void limit(uint64_t iops)
{
	clock_ns = S;
	requests_set_rate(&disk, clock_ns, iops);
	clock_ns += S; /* the bucket is full: a tenth of a second */
}

Test(requests, without_a_limit_they_are_counted_and_not_charged)
{
	plan_reads(3);
	cr_assert_not(requests_are_limited(&run));
	cr_assert_eq(requests_ready_ns(&run, 5), 5);
	requests_charge(&run, 5);
	requests_note_reads(&run, 3);
	requests_note_writes(&run, 1);
	cr_assert_eq(run.charge.requests.n_charged, 0);
	cr_assert_eq(walk.requests.n_done, 4);
}

Test(requests, a_run_pays_for_its_reads_and_one_write)
{
	limit(100);
	plan_reads(3);
	cr_assert(requests_are_limited(&run));
	cr_assert_eq(requests_ready_ns(&run, clock_ns), clock_ns);
	requests_charge(&run, clock_ns);
	cr_assert_eq(run.charge.requests.n_charged, 4);
	cr_assert_eq(limiter_saved(&walk.requests.limiter, clock_ns), 6);
	cr_assert_eq(walk.requests.limiter.in_flight, 4);
	requests_note_reads(&run, 3);
	requests_note_writes(&run, 1);
	requests_end(&run);
	cr_assert_eq(walk.requests.limiter.in_flight, 0);
	cr_assert_eq(walk.requests.n_prepaid, 0);
	cr_assert_eq(walk.requests.n_done, 4);
}

Test(requests, more_writes_than_paid_for_are_a_debt)
{
	limit(100);
	plan_reads(5);
	cr_assert_eq(requests_ready_ns(&run, clock_ns), clock_ns);
	requests_charge(&run, clock_ns);
	requests_note_reads(&run, 5);
	requests_note_writes(&run, 9);
	requests_end(&run);
	cr_assert_eq(limiter_saved(&walk.requests.limiter, clock_ns), 10 - 14);
	plan_reads(1);
	cr_assert_eq(requests_ready_ns(&run, clock_ns), clock_ns + 6 * S / 100);
}

Test(requests, what_a_run_paid_too_much_is_the_next_ones)
{
	limit(100);
	plan_reads(7);
	requests_charge(&run, clock_ns);
	requests_note_reads(&run, 2);
	requests_end(&run);
	cr_assert_eq(walk.requests.n_prepaid, 6);
	plan_reads(4);
	requests_charge(&run, clock_ns);
	cr_assert_eq(run.charge.requests.n_charged, 0, "all of it was paid");
	cr_assert_eq(walk.requests.n_prepaid, 1);
}

Test(requests, the_engines_limit_holds_for_each_job)
{
	clock_ns = S;
	limiter_set(&engine.request_limiter, clock_ns, 10, 1);
	plan_reads(0);
	cr_assert(requests_are_limited(&run));
	cr_assert_eq(requests_ready_ns(&run, clock_ns), clock_ns, "it reads nothing");
	plan_reads(1);
	cr_assert_eq(requests_ready_ns(&run, clock_ns), clock_ns + S / 10);
	run.kind = RUN_ON_READ;
	requests_note_reads(&run, 8);
	cr_assert_eq(walk.requests.n_done, 0, "a copy that follows a read is not the job's");
}
