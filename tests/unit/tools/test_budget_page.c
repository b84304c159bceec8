/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of tools/budget/page.c, in a time that is only counted: the processes that share a
 * budget have its rate together and no more, also after some were killed with what they had taken;
 * none waits long, whatever is in the page. BUDGET_SEED=n plays one seed.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/budget/page.h"

#define NS        UINT64_C(1000000000)
#define MS        UINT64_C(1000000)
#define MIB       (UINT64_C(1) << 20)
#define N_HOLDERS 4

static const uint8_t boot[16] = "a boot";

struct holder {
	struct budget_view view;
	uint64_t ready_ns, len; /* what it has taken, and when it may use it */
	uint64_t used;
	bool is_dead;
};

static uint64_t rng;

static uint64_t below(uint64_t n)
{
	rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (rng >> 33) % n;
}

static void take(struct budget_page *page, struct holder *h, uint64_t now_ns)
{
	h->len = 1 + below(MIB);
	h->ready_ns = now_ns + budget_page_take(page, &h->view, now_ns, h->len);
}

/* Each uses what it has as soon as it may, late now and then, and takes the next. Returns bytes. */
static uint64_t play(struct budget_page *page, struct holder *holders, uint64_t *now_ns,
		     uint64_t ns)
{
	uint64_t sum = 0, end_ns = *now_ns + ns;

	for (; *now_ns < end_ns; *now_ns += MS / 10)
		for (unsigned i = 0; i < N_HOLDERS; i++) {
			struct holder *h = &holders[i];

			if (h->is_dead || *now_ns < h->ready_ns || !below(8))
				continue;
			sum += h->len;
			h->used += h->len;
			take(page, h, *now_ns);
		}
	return sum;
}

static void begin(struct budget_page *page, struct holder *holders, uint64_t now_ns, uint64_t rate)
{
	memset(holders, 0, N_HOLDERS * sizeof(*holders));
	budget_page_begin(page, boot, rate);
	for (unsigned i = 0; i < N_HOLDERS; i++) {
		holders[i].view.n_holders = N_HOLDERS;
		take(page, &holders[i], now_ns);
	}
}

static void judge(uint64_t seed, uint64_t bytes, uint64_t rate, uint64_t ns, uint64_t slack)
{
	uint64_t want = rate / 1000 * (ns / MS);

	cr_assert(bytes <= want + slack && bytes + slack >= want,
		  "seed %" PRIu64 ": %" PRIu64 " bytes, not %" PRIu64, seed, bytes, want);
}

Test(budget_page, all_together_have_its_rate)
{
	static const uint64_t rates[] = { 10000000, 100000000, 1000000000 };
	const char *only = getenv("BUDGET_SEED");

	for (uint64_t seed = only ? strtoull(only, NULL, 10) : 1; seed <= 30; seed++) {
		struct holder h[N_HOLDERS];
		struct budget_page page;
		uint64_t now_ns = 1000 * NS, rate = rates[seed % 3];

		rng = seed;
		begin(&page, h, now_ns, rate);
		play(&page, h, &now_ns, NS);
		/* 1 %, and a run of each that ends within the time or not. */
		judge(seed, play(&page, h, &now_ns, 30 * NS), rate, 30 * NS,
		      rate / 1000 * 30 * 10 + N_HOLDERS * MIB);
		for (unsigned i = 0; i < N_HOLDERS; i++) {
			cr_assert_eq(h[i].view.wrong, 0, "seed %" PRIu64, seed);
			cr_assert_gt(h[i].used, rate * 31 / N_HOLDERS / 2,
				     "seed %" PRIu64 ": one of them starves", seed);
		}
		if (only)
			return;
	}
}

Test(budget_page, who_is_killed_takes_no_share_with_it)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t now_ns = 1000 * NS, rate = 50000000;
		struct holder h[N_HOLDERS];
		struct budget_page page;

		rng = seed;
		begin(&page, h, now_ns, rate);
		play(&page, h, &now_ns, NS);
		h[0].is_dead = h[seed % N_HOLDERS].is_dead = true;
		judge(seed, play(&page, h, &now_ns, 20 * NS), rate, 20 * NS,
		      rate / 1000 * 20 * 10 + N_HOLDERS * MIB);
	}
}

Test(budget_page, a_rate_changes_at_once)
{
	uint64_t now_ns = 1000 * NS;
	struct holder h[N_HOLDERS];
	struct budget_page page;

	rng = 1;
	begin(&page, h, now_ns, 1000000);
	play(&page, h, &now_ns, NS);
	atomic_store(&page.rate, 500000000);
	play(&page, h, &now_ns, 5 * NS); /* what was taken at the old rate is still paid for */
	judge(1, play(&page, h, &now_ns, 10 * NS), 500000000, 10 * NS, 60000000);
	atomic_store(&page.rate, 0);
	cr_assert_eq(budget_page_take(&page, &h[0].view, now_ns, MIB), 0);
}

Test(budget_page, an_idle_budget_saves_a_moment_only)
{
	struct budget_view view = { .n_holders = 1 };
	struct budget_page page;
	uint64_t bytes = 0;

	budget_page_begin(&page, boot, 100 * MIB);
	while (!budget_page_take(&page, &view, 5000 * NS, 64 << 10))
		bytes += 64 << 10;
	cr_assert_leq(bytes, 6 * MIB, "%" PRIu64, bytes);
}

Test(budget_page, whatever_is_in_the_page_no_one_waits_long)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct budget_view view = { .n_holders = N_HOLDERS, .rate = 50000000 };
		struct budget_page page;
		uint64_t now_ns = 1000 * NS;

		rng = seed;
		budget_page_begin(&page, boot, view.rate);
		for (unsigned i = 0; i < 200; i++) {
			uint64_t wait_ns;

			/* A rate of few bytes a second is a wish, not garbage. */
			if (!below(3))
				atomic_store(&page.rate,
					     below(2) ? view.rate : UINT64_MAX - below(1 << 20));
			if (!below(3))
				atomic_store(&page.next_ns, below(2) ? UINT64_MAX - below(1 << 20)
								     : below(NS) << 20);
			wait_ns = budget_page_take(&page, &view, now_ns, 1 + below(MIB));
			cr_assert_leq(wait_ns, 300 * MS, "seed %" PRIu64, seed);
			now_ns += below(50 * MS);
		}
		cr_assert_eq(view.wrong, BUDGET_WRONG_RATE | BUDGET_WRONG_TIME, "seed %" PRIu64,
			     seed);
	}
}
