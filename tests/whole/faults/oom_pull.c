/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See oom_pull.h. */
#include "tests/whole/faults/oom_pull.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/whole/faults/oom.h"

static oom_pull_fn pull_it; /* of the test that runs */

static void judge(const struct oom_run *run, bool link_gone)
{
	struct sim_verdict v;

	sim_pull_judge(run->chain, run->sim, &v);
	cr_assert(v.ok, "%s: %s", run->what, v.text);
	cr_assert_eq(v.has_backing, !link_gone, "%s: the link", run->what);
}

int oom_run_pull(struct oom_run *run, struct sim_pull *pull)
{
	struct io *io = oom_io(sim_io(run->sim));
	int rc;

	pull->opener = oom_opener(sim_opener(run->sim));
	oom_arm(run->nth, run->forever);
	rc = sim_pull_open(pull, run->chain, run->sim, io, SIM_PULL_MEMORY,
			   4 * run->chain->cluster_len);
	if (!rc) {
		pull->flags = run->flags;
		rc = sim_pull_run(pull);
		cr_assert_neq(rc, -ETIME, "%s: it hangs", run->what);
		if (!rc && pull->status != BPULL_JOB_COMPLETED)
			rc = pull->event_error;
		sim_pull_close(pull);
	}
	run->n_failed = oom_disarm();
	return rc;
}

/* False: no allocation was the n-th. */
static bool try_oom(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	struct oom_run run = {
		.chain = chain, .sim = sim_new(nth), .nth = nth, .forever = forever
	};
	bool has_failed;
	int rc;

	snprintf(run.what, sizeof(run.what), "chain %" PRIu64 ": allocation %" PRIu64 " fails %s",
		 chain->how.seed, nth, forever ? "for ever" : "once");
	sim_chain_put(chain, run.sim);
	rc = pull_it(&run);
	has_failed = run.n_failed;
	/* What can be done without may be missing: then it completes all the same. */
	cr_assert(rc == 0 || (rc == -ENOMEM && has_failed), "%s: %s", run.what, strerror(-rc));
	judge(&run, rc == 0);
	run.nth = 0;
	rc = pull_it(&run);
	cr_assert_eq(rc, 0, "%s, pulled again: %s", run.what, strerror(-rc));
	judge(&run, true);
	sim_free(run.sim);
	return has_failed;
}

uint64_t oom_try_pulls(const struct sim_chain_how *hows, uint64_t n_hows, uint64_t n, bool forever,
		       oom_pull_fn pull)
{
	pull_it = pull;
	return oom_try_all(hows, n_hows, n, forever, try_oom);
}
