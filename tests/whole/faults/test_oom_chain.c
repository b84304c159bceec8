/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a chain that is committed and compacted under a guest, failing, once and for
 * ever: the job ends, the disk reads what it should, and what is left can be used.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/snap_trial.h"
#include "tests/whole/faults/oom.h"
#include "tests/whole/faults/oom_trial.h"

TestSuite(oom_chain, .timeout = TIME_LIMIT_CLOCK(1200));

static const struct sim_chain_how chains[] = {
	{ SIM_V3(9, 16), SIM_SIZE(12, 3) },
	{ SIM_SMALL_QED, SIM_SIZE(4, 3) },
};

/* Of the chain that is tried: the image into the next file, or the last; files between. */
static void choose_job(struct snap_trial *t, const struct sim_chain *chain)
{
	unsigned last = chain->n_files - 1, which = chain->how.seed % 4;

	t->job.kind = which == 3 ? SNAP_COMPACT : SNAP_COMMIT;
	t->job.top = which > 1;
	t->job.base = which ? last : 1;
	t->job.flags = BPULL_JOB_VERIFY;
}

/* False: no allocation was the n-th. */
static bool try_oom(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	static const char *const names[] = { "/none" };
	struct snap_trial t = { .base = oom_trial(chain, nth, forever) };
	uint64_t n_failed;

	choose_job(&t, chain);
	snap_trial_begin(&t, chain, chain->want, names);
	oom_arm(nth, forever);
	snap_trial_live(&t);
	n_failed = oom_disarm();
	snap_trial_judge_cuts(&t, "and a cut", nth);
	snap_trial_end(&t);
	sim_free(t.base.sim);
	return n_failed && chain->n_files > 2;
}

static void try_all(bool forever)
{
	uint64_t n_runs = oom_try_all(chains, ARRAY_LEN(chains), 8, forever, try_oom);

	cr_assert_gt(n_runs, 200, "only %" PRIu64 " runs", n_runs);
}

Test(oom_chain, a_job_of_a_chain_survives_one_failed_allocation)
{
	try_all(false);
}

Test(oom_chain, a_job_of_a_chain_without_memory_ends)
{
	try_all(true);
}
