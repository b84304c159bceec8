/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A disk that becomes longer while each call fails in turn, and while the power is cut at each
 * operation: the image has the old length or the new one, the new one for good once its event
 * came, never after a resize that found no space, and zeros behind the old end. What is left can be
 * made longer again. Random orders are those of test_model.c, where a disk becomes longer.
 *
 *   GROW_SEED=first GROW_SEEDS=n   other chains, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/each_fault.h"
#include "tests/whole/chains/grow_trial.h"

TIME_LIMIT(900);
TestSuite(grow_sim, .timeout = TIME_LIMIT_CLOCK(900));

static const struct sim_chain_how kinds[] = {
	{ SIM_V3(9, 0), SIM_SIZE(12, 2) },
	{ SIM_SMALL_QED, SIM_SIZE(4, 2) },
	{ SIM_V3(9, 16), SIM_SIZE(12, 1), .n_snapshots = 2, .longer = true },
	{ SIM_V3(9, 8), SIM_SIZE(12, 1), .full_block = true },
	{ SIM_FULL_TABLE, SIM_SIZE(12, 1) },
	{ SIM_V3(9, 16), SIM_SIZE(12, 3), .to_base = true },
	{ SIM_V3(9, 16), SIM_SIZE(12, 1), .data_file = true },
	{ SIM_V3(14, 16), SIM_SIZE(2, 1), .extended = true },
};

static void begin(struct grow_trial *t, const struct sim_chain *chain)
{
	*t = (struct grow_trial){ .base.sim = sim_new(chain->how.seed) };
	sim_chain_put(chain, t->base.sim);
	grow_trial_begin(t, chain, chain->want, chain->guest_len);
}

static void end(struct grow_trial *t)
{
	grow_trial_end(t);
	sim_free(t->base.sim);
}

static void cut_at(const void *arg, uint64_t k)
{
	const struct sim_chain *chain = arg;
	struct grow_trial t;

	begin(&t, chain);
	t.base.may_fail = true;
	snprintf(t.base.what, sizeof(t.base.what), "seed %" PRIu64 ", cut at operation %" PRIu64,
		 chain->how.seed, k);
	sim_stop_at(t.base.sim, k);
	grow_trial_live(&t);
	grow_trial_judge_cuts(&t, "after a cut", k);
	end(&t);
}

static void cut_at_each(const struct sim_chain *chain)
{
	struct grow_trial t;
	uint64_t n_ops;

	begin(&t, chain);
	snprintf(t.base.what, sizeof(t.base.what), "seed %" PRIu64, chain->how.seed);
	cr_assert_eq(grow_trial_live(&t), 0);
	cr_assert_eq(t.n_grown, 2);
	grow_trial_judge_cuts(&t, "at the end", 0);
	n_ops = sim_n_all_ops(t.base.sim);
	end(&t);
	each_cut(n_ops, chain->how.seed, cut_at, chain);
}

/* False: there were fewer such calls. */
static bool fail_nth(const void *arg, const struct sim_fault *fault)
{
	const struct sim_chain *chain = arg;
	struct grow_trial t;
	bool hit;

	begin(&t, chain);
	t.base.may_fail = true;
	snprintf(t.base.what, sizeof(t.base.what),
		 "seed %" PRIu64 ", call %" PRIu64 " of kind %d fails %s: %s", chain->how.seed,
		 fault->nth, (int)fault->op, fault->forever ? "for ever" : "once",
		 strerror(-fault->error));
	sim_fail(t.base.sim, fault);
	grow_trial_live(&t);
	hit = sim_n_faults_hit(t.base.sim);
	sim_clear_faults(t.base.sim);
	grow_trial_judge_cuts(&t, "and a cut", fault->nth);
	grow_trial_again(&t);
	end(&t);
	return hit;
}

static void fail_each(const struct sim_chain *chain)
{
	static const enum sim_op ops[] = { SIM_READ,     SIM_WRITE, SIM_SYNC,
					   SIM_TRUNCATE, SIM_WORK,  SIM_DISCARD };

	each_fault(ops, ARRAY_LEN(ops), fail_nth, chain);
}

static void each_kind(uint64_t n_seeds, void (*try)(const struct sim_chain *chain))
{
	uint64_t first = sim_pull_env("GROW_SEED", 1),
		 n = sim_pull_env("GROW_SEEDS", n_seeds * ARRAY_LEN(kinds));

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain_how how = kinds[seed % ARRAY_LEN(kinds)];
		struct sim_chain chain;

		how.seed = seed;
		sim_chain_draw(&chain, &how);
		try(&chain);
		sim_chain_free(&chain);
	}
}

Test(grow_sim, a_power_cut_leaves_one_length_or_the_other)
{
	each_kind(3, cut_at_each);
}

Test(grow_sim, a_failed_call_leaves_a_disk_that_can_grow)
{
	each_kind(1, fail_each);
}
