/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a pull, failing: the n-th for every n, until a pull meets
 * no failure any more, once and for ever. Nothing crashes or leaks (run it
 * with the address sanitizer), -ENOMEM comes back, and the image is whole: it
 * checks, reads as before, and a second pull brings it to its end.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/machine/sim_chains.h"
#include "tests/whole/faults/oom.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"

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

static void judge(const struct sim_chain *chain, struct sim *sim, const char *what, bool link_gone)
{
	struct sim_verdict v;

	sim_pull_judge(chain, sim, &v);
	cr_assert(v.ok, "%s: %s", what, v.text);
	cr_assert_eq(v.has_backing, !link_gone, "%s: the link", what);
}

static int pull_starved(const struct sim_chain *chain, struct sim *sim, uint64_t nth, bool forever,
			const char *what, uint64_t *n_failed)
{
	struct sim_pull pull = { .opener = oom_opener(sim_opener(sim)) };
	struct io *io = oom_io(sim_io(sim));
	int rc;

	oom_arm(nth, forever);
	rc = sim_pull_open(&pull, chain, sim, io, SIM_PULL_MEMORY, 4 * chain->cluster_len);
	if (!rc) {
		pull.flags = chain->how.seed % 2 ? BPULL_JOB_VERIFY : 0;
		rc = sim_pull_run(&pull);
		cr_assert_neq(rc, -ETIME, "%s: it hangs", what);
		if (!rc && pull.status != BPULL_JOB_COMPLETED)
			rc = pull.event_error;
		sim_pull_close(&pull);
	}
	*n_failed = oom_disarm();
	return rc;
}

/* False: no allocation was the n-th. */
static bool try_oom(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	struct sim *sim = sim_new(nth);
	struct sim_pull again;
	uint64_t n_failed;
	char what[100];
	int rc;

	snprintf(what, sizeof(what), "chain %" PRIu64 ": allocation %" PRIu64 " fails %s",
		 chain->how.seed, nth, forever ? "for ever" : "once");
	sim_chain_put(chain, sim);
	rc = pull_starved(chain, sim, nth, forever, what, &n_failed);
	/* What can be done without may be missing: then it completes all the same. */
	cr_assert(rc == 0 || (rc == -ENOMEM && n_failed), "%s: %s", what, strerror(-rc));
	judge(chain, sim, what, rc == 0);
	rc = sim_pull_whole(chain, sim, SIM_PULL_MEMORY, 0, &again);
	cr_assert_eq(rc, 0, "%s, pulled again: %s %s%s", what, strerror(-rc), again.error.message,
		     again.message);
	judge(chain, sim, what, true);
	sim_free(sim);
	return n_failed;
}

static void try_all(bool forever)
{
	uint64_t n_chains = sim_pull_env("OOM_CHAINS", N_CHAINS);
	uint64_t n_runs = oom_try_all(chains, ARRAY_LEN(chains), n_chains, forever, try_oom);

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
