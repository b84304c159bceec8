/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a disk that becomes longer, failing, once and for ever: the resize has one
 * event, the disk is as long as that says, and what is left can be made longer.
 */
#include <criterion/criterion.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/grow_trial.h"
#include "tests/whole/faults/oom.h"
#include "tests/whole/faults/oom_trial.h"

TestSuite(oom_grow, .timeout = TIME_LIMIT_CLOCK(1200));

static const struct sim_chain_how chains[] = {
	{ SIM_V3(9, 16), SIM_SIZE(12, 2) },
	{ SIM_SMALL_QED, SIM_SIZE(4, 2) },
	{ SIM_FULL_TABLE, SIM_SIZE(12, 1) },
	{ SIM_V3(9, 16), SIM_SIZE(12, 1), .data_file = true },
};

/* False: no allocation was the n-th. */
static bool try_oom(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	struct grow_trial t = { .base = oom_trial(chain, nth, forever) };
	uint64_t n_failed;
	int rc;

	grow_trial_begin(&t, chain, chain->want, chain->guest_len);
	oom_arm(nth, forever);
	rc = grow_trial_live(&t);
	n_failed = oom_trial_n_failed(&t.base, rc);
	grow_trial_judge_cuts(&t, "and a cut", nth);
	grow_trial_again(&t);
	grow_trial_end(&t);
	sim_free(t.base.sim);
	return n_failed;
}

Test(oom_grow, a_disk_grows_or_not_where_one_allocation_fails)
{
	oom_try_trials(chains, ARRAY_LEN(chains), false, try_oom);
}

Test(oom_grow, a_resize_without_memory_ends_with_an_error)
{
	oom_try_trials(chains, ARRAY_LEN(chains), true, try_oom);
}
