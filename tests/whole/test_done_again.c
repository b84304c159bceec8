/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A pull that was killed at any of its operations, and pulled again by another process of the same
 * machine: what that one calls COMPLETED outlives a power cut. The killed one may have written the
 * header without the link, and not have come to its barrier.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/machine/files/sim_process.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(120);
TestSuite(done_again, .timeout = TIME_LIMIT_CLOCK(120));

struct met {
	unsigned n_killed;
	unsigned n_linkless; /* the killed one had written the header */
};

/* By process i. 0 where it COMPLETED, else -errno. *is_linkless: it found no link. */
static int pull(struct sim_processes *all, unsigned i, const struct sim_chain *chain,
		bool *is_linkless)
{
	struct sim_pull pull = { 0 };
	int rc = sim_pull_open(&pull, chain, all->sim, sim_process_begin(all, i), SIM_PULL_MEMORY,
			       2 * chain->cluster_len);
	bool is_killed;

	*is_linkless = !rc && bpull_disk_depth(pull.disk) == 1;
	if (!rc)
		rc = sim_pull_run(&pull);
	if (!rc && pull.status != BPULL_JOB_COMPLETED)
		rc = pull.event_error ? pull.event_error : -ECANCELED;
	if (!pull.engine) /* it did not open: its engine is closed, and nothing in flight */
		return rc;
	is_killed = sim_is_stopped(all->sim);
	if (is_killed)
		sim_process_kill(all, i);
	sim_pull_close(&pull);
	if (is_killed)
		sim_process_buried(all, i);
	return is_killed ? SIM_STOPPED : rc;
}

static void expect_durable(const struct sim_chain *chain, const struct sim *sim, uint64_t k)
{
	struct sim *left = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_ALL_LOST });
	struct sim_verdict v;

	sim_pull_judge(chain, left, &v);
	cr_assert(v.ok && !v.has_backing, "seed %" PRIu64 ", killed at %" PRIu64 ": %s",
		  chain->how.seed, k, v.ok ? "the link is there again" : v.text);
	sim_free(left);
}

/* False: the pull was over before. */
static bool kill_at(const struct sim_chain *chain, uint64_t k, struct met *met)
{
	struct sim_processes all = { .sim = sim_new(chain->how.seed) };
	bool is_linkless;
	int rc;

	sim_chain_put(chain, all.sim);
	sim_stop_at(all.sim, k);
	rc = pull(&all, 0, chain, &is_linkless);
	if (rc) {
		sim_stop_at(all.sim, 0);
		cr_assert_eq(pull(&all, 1, chain, &is_linkless), 0,
			     "seed %" PRIu64 ", killed at %" PRIu64, chain->how.seed, k);
		expect_durable(chain, all.sim, k);
		met->n_killed++;
		met->n_linkless += is_linkless;
	}
	sim_free(all.sim);
	return rc;
}

Test(done_again, a_pull_that_was_killed_is_durable_when_pulled_again)
{
	struct met met = { 0 };

	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct sim_chain_how how = { .seed = seed,
					     .format = seed % 2 ? IMAGE_QCOW2 : IMAGE_QED,
					     .cluster_bits = 12,
					     .n_clusters = 20,
					     .max_depth = 2 };
		struct sim_chain chain;

		sim_chain_draw(&chain, &how);
		for (uint64_t k = 1; kill_at(&chain, k, &met); k++)
			;
		sim_chain_free(&chain);
	}
	fprintf(stderr, "%u killed, %u behind the header's write\n", met.n_killed, met.n_linkless);
	cr_assert_gt(met.n_linkless, 8, "%u of %u", met.n_linkless, met.n_killed);
}

Test(done_again, what_cannot_be_made_durable_is_not_done)
{
	struct sim_chain_how how = {
		.seed = 1, .format = IMAGE_QCOW2, .cluster_bits = 12, .n_clusters = 20
	};
	struct sim_pull first, again = { 0 };
	struct sim *sim = sim_new(1);
	struct sim_chain chain;

	sim_chain_draw(&chain, &how);
	sim_chain_put(&chain, sim);
	cr_assert_eq(sim_pull_whole(&chain, sim, SIM_PULL_MEMORY, 0, &first), 0);
	cr_assert_eq(sim_pull_open(&again, &chain, sim, NULL, SIM_PULL_MEMORY, 0), 0);
	sim_fail(sim, &(struct sim_fault){ .op = SIM_SYNC, .nth = 1, .error = -EIO });
	cr_assert_eq(sim_pull_run(&again), -EIO);
	cr_assert(strstr(again.error.message, "can't be made durable"), "%s", again.error.message);
	sim_clear_faults(sim);
	cr_assert_eq(sim_pull_run(&again), -EIO, "its sync is tried again");
	sim_pull_close(&again);
	sim_chain_free(&chain);
	sim_free(sim);
}
