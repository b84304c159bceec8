/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a disk that gets new images on top, failing, once and for ever: each snapshot
 * is there whole or not at all, each head holds what it should, and what is left can have more.
 */
#include <criterion/criterion.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/snap_trial.h"
#include "tests/whole/faults/oom.h"
#include "tests/whole/faults/oom_trial.h"

TestSuite(oom_snapshot, .timeout = TIME_LIMIT_CLOCK(1200));

static const char *const names[] = { "/one", "/dir/two", "/three", "/four" };

static const struct sim_chain_how chains[] = {
	{ SIM_V3(9, 16), SIM_SIZE(12, 2) },
	{ SIM_SMALL_QED, SIM_SIZE(4, 2) },
	{ SIM_V3(9, 16), SIM_SIZE(12, 1), .data_file = true },
};

/* False: no allocation was the n-th. */
static bool try_oom(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	struct snap_trial t = { .base = oom_trial(chain, nth, forever) };
	uint64_t n_failed;
	int rc;

	snap_trial_begin(&t, chain, chain->want, names);
	oom_arm(nth, forever);
	rc = snap_trial_live(&t);
	n_failed = oom_trial_n_failed(&t.base, rc);
	snap_trial_judge_cuts(&t, "and a cut", nth);
	snap_trial_again(&t);
	snap_trial_end(&t);
	sim_free(t.base.sim);
	return n_failed;
}

Test(oom_snapshot, a_snapshot_is_there_or_not_where_one_allocation_fails)
{
	oom_try_trials(chains, ARRAY_LEN(chains), false, try_oom);
}

Test(oom_snapshot, a_snapshot_without_memory_is_refused)
{
	oom_try_trials(chains, ARRAY_LEN(chains), true, try_oom);
}
