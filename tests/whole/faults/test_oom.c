/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a pull, failing: the n-th for every n, until a pull meets
 * no failure any more, once and for ever. Nothing crashes or leaks (run it
 * with the address sanitizer), -ENOMEM comes back, and the image is whole: it
 * checks, reads as before, and a second pull brings it to its end.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "io/base.h"
#include "tests/machine/sim_chains.h"
#include "tests/support/time_limit.h"
#include "tests/whole/faults/oom_pull.h"

#define N_CHAINS 15 /* OOM_CHAINS=n for more */

TIME_LIMIT(1200);
TestSuite(oom, .timeout = TIME_LIMIT_CLOCK(1200));

static const struct sim_chain_how chains[] = {
	{ SIM_FULL_BLOCK, SIM_SIZE_MIXED(120, 2) },
	{ SIM_FULL_TABLE, SIM_SIZE_MIXED(120, 1) },
	{ SIM_SMALL_QED, SIM_SIZE_MIXED(60, 2) },
	{ SIM_LARGE_CLUSTERS, SIM_SIZE_MIXED(16, 3) },
	{ SIM_PACKED_NARROW(4), SIM_SIZE_MIXED(60, 2) },
};

static int pull(struct oom_run *run)
{
	struct sim_pull pull = { 0 };

	run->flags = run->chain->how.seed % 2 ? BPULL_JOB_VERIFY : 0;
	return oom_run_pull(run, &pull);
}

static void try_all(bool forever)
{
	uint64_t n_chains = sim_pull_env("OOM_CHAINS", N_CHAINS);
	uint64_t n_runs = oom_try_pulls(chains, ARRAY_LEN(chains), n_chains, forever, pull);

	cr_assert_geq(n_runs, n_chains * 80, "only %" PRIu64 " runs", n_runs);
}

Test(oom, a_pull_survives_one_failed_allocation)
{
	try_all(false);
}

Test(oom, a_pull_without_memory_fails_and_can_be_repeated)
{
	try_all(true);
}
