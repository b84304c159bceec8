/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See oom_trial.h. */
#include "tests/whole/faults/oom_trial.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/whole/faults/oom.h"

#define MIN_RUNS 200

struct trial oom_trial(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	struct trial t = { .sim = sim_new(nth),
			   .may_fail = true,
			   .forever = forever,
			   .pause = oom_pause,
			   .resume = oom_resume,
			   .wrap_io = oom_io,
			   .wrap_opener = oom_opener };

	snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ": allocation %" PRIu64 " fails %s",
		 chain->how.seed, nth, forever ? "for ever" : "once");
	sim_chain_put(chain, t.sim);
	return t;
}

uint64_t oom_trial_n_failed(const struct trial *t, int rc)
{
	uint64_t n_failed = oom_disarm();

	cr_assert((!rc && !t->n_failed) || n_failed, "%s: fails with memory", t->what);
	return n_failed;
}

void oom_try_trials(const struct sim_chain_how *hows, uint64_t n, bool forever,
		    bool (*try)(const struct sim_chain *chain, uint64_t nth, bool forever))
{
	uint64_t n_runs = oom_try_all(hows, n, n, forever, try);

	cr_assert_gt(n_runs, MIN_RUNS, "only %" PRIu64 " runs", n_runs);
}
