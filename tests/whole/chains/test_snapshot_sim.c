/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Disks that get new images on top while each call fails in turn, and while the power is cut at
 * each operation. Each head reads what it should, at any cut: the image that is the disk holds what
 * the guest has written and flushed, an image below what the disk held when it got the next one,
 * and one that was being made is none yet, or reads as the disk does.
 *
 *   SNAP_SEED=first SNAP_SEEDS=n   other chains, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/effort.h"
#include "tests/support/random.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/each_fault.h"
#include "tests/whole/chains/snap_trial.h"

TIME_LIMIT(900);
TestSuite(snapshot_sim, .timeout = TIME_LIMIT_CLOCK(900));

static const char *const names[SNAP_MAX] = { "/one",  "/dir/two", "/three",
					     "/four", "/dir/a:b", "/six" };

static const struct sim_chain_how kinds[] = {
	{ SIM_V3(9, 0), SIM_SIZE(24, 2) },
	{ SIM_SMALL_QED, SIM_SIZE(4, 2) },
	{ SIM_V3(9, 16), SIM_SIZE(24, 1), .n_snapshots = 1 },
	{ SIM_V3(9, 16), SIM_SIZE(24, 1), .data_file = true },
	{ SIM_V3(9, 8), SIM_SIZE(24, 1), .full_block = true },
};

static void begin(struct snap_trial *t, const struct sim_chain *chain)
{
	*t = (struct snap_trial){ .base.sim = sim_new(chain->how.seed) };
	sim_chain_put(chain, t->base.sim);
	snap_trial_begin(t, chain, chain->want, names);
}

static void end(struct snap_trial *t)
{
	snap_trial_end(t);
	sim_free(t->base.sim);
}

static void cut_at(const void *arg, uint64_t k)
{
	const struct sim_chain *chain = arg;
	struct snap_trial t;

	begin(&t, chain);
	t.base.may_fail = true;
	snprintf(t.base.what, sizeof(t.base.what), "seed %" PRIu64 ", cut at operation %" PRIu64,
		 chain->how.seed, k);
	sim_stop_at(t.base.sim, k);
	snap_trial_live(&t);
	snap_trial_judge_cuts(&t, "after a cut", k);
	end(&t);
}

static void cut_at_each(const struct sim_chain *chain)
{
	struct snap_trial t;
	uint64_t n_ops;

	begin(&t, chain);
	snprintf(t.base.what, sizeof(t.base.what), "seed %" PRIu64, chain->how.seed);
	cr_assert_eq(snap_trial_live(&t), 0);
	cr_assert_eq(t.n_taken, SNAP_FIXED);
	cr_assert(t.base.completed);
	snap_trial_judge_cuts(&t, "at the end", 0);
	n_ops = sim_n_all_ops(t.base.sim);
	end(&t);
	each_cut(n_ops, chain->how.seed, cut_at, chain);
}

/* False: there were fewer such calls. */
static bool fail_nth(const void *arg, const struct sim_fault *fault)
{
	const struct sim_chain *chain = arg;
	struct snap_trial t;
	bool hit;

	begin(&t, chain);
	t.base.may_fail = true;
	t.may_leave = fault->op == SIM_REMOVE;
	snprintf(t.base.what, sizeof(t.base.what),
		 "seed %" PRIu64 ", call %" PRIu64 " of kind %d fails %s: %s", chain->how.seed,
		 fault->nth, (int)fault->op, fault->forever ? "for ever" : "once",
		 strerror(-fault->error));
	sim_fail(t.base.sim, fault);
	snap_trial_live(&t);
	hit = sim_n_faults_hit(t.base.sim);
	sim_clear_faults(t.base.sim);
	snap_trial_judge_cuts(&t, "and a cut", fault->nth);
	snap_trial_again(&t);
	end(&t);
	return hit;
}

static void fail_each(const struct sim_chain *chain)
{
	static const enum sim_op ops[] = { SIM_READ,     SIM_WRITE,   SIM_SYNC,   SIM_TRUNCATE,
					   SIM_OPEN,     SIM_CREATE,  SIM_RENAME, SIM_REMOVE,
					   SIM_DIR_OPEN, SIM_DIR_SYNC };

	each_fault(ops, ARRAY_LEN(ops), fail_nth, chain);
}

static void each_kind(uint64_t n_seeds, void (*try)(const struct sim_chain *chain))
{
	uint64_t first = sim_pull_env("SNAP_SEED", 1), n = sim_pull_env("SNAP_SEEDS", n_seeds);

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain_how how = kinds[seed % ARRAY_LEN(kinds)];
		struct sim_chain chain;

		how.seed = seed;
		sim_chain_draw(&chain, &how);
		try(&chain);
		sim_chain_free(&chain);
	}
}

Test(snapshot_sim, a_power_cut_leaves_each_head_as_it_should_be)
{
	each_kind(ARRAY_LEN(kinds), cut_at_each);
}

Test(snapshot_sim, a_failed_call_leaves_a_disk_that_can_have_snapshots)
{
	each_kind(2, fail_each);
}

/* ---- drawn sessions ---- */

static struct {
	unsigned taken, pulled, cut, failed;
} met;

/* Of one seed: undisturbed, with the power cut somewhere, and with a call that fails. */
static void play(const struct sim_chain *chain)
{
	static const enum sim_op ops[] = { SIM_WRITE, SIM_SYNC, SIM_READ, SIM_TRUNCATE,
					   SIM_DIR_SYNC };
	uint64_t n_ops = 0, rng = chain->how.seed;

	for (unsigned i = 0; i <= 2 * EFFORT(12); i++) {
		struct sim_fault fault = { .op = ops[i % ARRAY_LEN(ops)],
					   .error = i % 3 ? -EIO : -ENOSPC,
					   .nth = 1 + random_below(&rng, 60) };
		uint64_t k = n_ops ? 1 + random_below(&rng, n_ops) : 0;
		struct snap_trial t;

		begin(&t, chain);
		t.draws = chain->how.seed * 1000 + 7;
		t.base.may_fail = i;
		snprintf(t.base.what, sizeof(t.base.what), "seed %" PRIu64 ", drawn, %s %" PRIu64,
			 chain->how.seed, i % 2 ? "cut at" : "fault", i % 2 ? k : fault.nth);
		if (i % 2)
			sim_stop_at(t.base.sim, k);
		else if (i)
			sim_fail(t.base.sim, &fault);
		snap_trial_live(&t);
		n_ops = i ? n_ops : sim_n_all_ops(t.base.sim);
		met.taken += t.n_taken;
		met.pulled += t.base.completed;
		met.cut += t.n_trying > 0;
		met.failed += !(i % 2) && t.base.n_failed;
		sim_clear_faults(t.base.sim);
		snap_trial_judge_cuts(&t, "and a cut", k);
		end(&t);
	}
}

Test(snapshot_sim, each_head_of_a_drawn_session_has_its_bytes)
{
	each_kind(EFFORT(30), play);
	cr_assert(met.taken && met.pulled && met.cut && met.failed,
		  "%u snapshots, %u pulls, %u cuts in one, %u plays with failures", met.taken,
		  met.pulled, met.cut, met.failed);
	fprintf(stderr, "%u snapshots, %u pulls, %u cuts in one, %u plays with failures\n",
		met.taken, met.pulled, met.cut, met.failed);
}
