/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a disk that gets new images on top, failing, once and for ever: each snapshot
 * is there whole or not at all, each head holds what it should, and what is left can have more.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/snap_trial.h"
#include "tests/whole/faults/oom.h"

TestSuite(oom_snapshot, .timeout = TIME_LIMIT_CLOCK(1200));

static const char *const names[] = { "/one", "/dir/two", "/three" };

static const struct sim_chain_how chains[] = {
	{ SIM_V3(9, 16), SIM_SIZE(12, 2) },
	{ SIM_SMALL_QED, SIM_SIZE(4, 2) },
	{ SIM_V3(9, 16), SIM_SIZE(12, 1), .data_file = true },
};

/* False: no allocation was the n-th. */
static bool try_oom(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	struct snap_trial t = { .sim = sim_new(nth),
				.may_fail = true,
				.forever = forever,
				.pause = oom_pause,
				.resume = oom_resume,
				.wrap_io = oom_io,
				.wrap_opener = oom_opener };
	uint64_t n_failed;
	int rc;

	snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ": allocation %" PRIu64 " fails %s",
		 chain->how.seed, nth, forever ? "for ever" : "once");
	sim_chain_put(chain, t.sim);
	snap_trial_begin(&t, chain, chain->want, names);
	oom_arm(nth, forever);
	rc = snap_trial_live(&t);
	n_failed = oom_disarm();
	cr_assert((!rc && !t.n_failed) || n_failed, "%s: fails with memory", t.what);
	snap_trial_judge_cuts(&t, "and a cut", nth);
	snap_trial_again(&t);
	snap_trial_end(&t);
	sim_free(t.sim);
	return n_failed;
}

static void try_all(bool forever)
{
	uint64_t n_runs =
		oom_try_all(chains, ARRAY_LEN(chains), ARRAY_LEN(chains), forever, try_oom);

	cr_assert_gt(n_runs, 200, "only %" PRIu64 " runs", n_runs);
}

Test(oom_snapshot, a_snapshot_is_there_or_not_where_one_allocation_fails)
{
	try_all(false);
}

Test(oom_snapshot, a_snapshot_without_memory_is_refused)
{
	try_all(true);
}
