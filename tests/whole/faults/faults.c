/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See faults.h. */
#include "tests/whole/faults/faults.h"

#include <criterion/criterion.h>
#include <inttypes.h>

#include "tests/machine/sim_chains.h"

const struct sim_chain_how fault_chains[FAULT_CHAINS] = {
	{ SIM_FULL_BLOCK, SIM_SIZE_MIXED(200, 2), .seed = 1 },
	{ SIM_V3(12, 0), SIM_SIZE_MIXED(90, 2), .seed = 2, .autoclear = 1u << 7 },
	{ SIM_FULL_TABLE, SIM_SIZE_MIXED(200, 1), .seed = 3 },
	{ SIM_SMALL_QED, SIM_SIZE_MIXED(90, 2), .seed = 4 },
	{ SIM_LARGE_CLUSTERS, SIM_SIZE_MIXED(20, 3), .seed = 5 },
	{ SIM_PACKED_NARROW(2), SIM_SIZE_MIXED(90, 2), .seed = 6 },
	{ SIM_V3(14, 16), SIM_SIZE_MIXED(40, 2), .seed = 8, .piece_len = 4096 },
	{ SIM_V3(12, 16), SIM_SIZE_MIXED(60, 2), .seed = 9, .clone = SIM_CLONE_WORKS },
};

/* After a failure at the very end the link may be there or gone; after success it is gone. */
static void judge(const struct fault_trial *t, struct sim *sim, const char *when, bool link_gone)
{
	struct sim_verdict v;

	sim_pull_judge(t->chain, sim, &v);
	cr_assert(v.ok, "%s, %s: %s", t->what, when, v.text);
	cr_assert(!v.has_backing || !link_gone, "%s, %s: the link is there", t->what, when);
}

static void judge_cut(const struct fault_trial *t, enum sim_cut_mode mode, uint64_t seed)
{
	struct sim_cut how = { .mode = mode, .seed = seed };
	struct sim *left = sim_cut(t->sim, &how);
	struct sim_verdict v;

	sim_pull_judge(t->chain, left, &v);
	cr_assert(v.ok, "%s, then a power cut (mode %d, seed %" PRIu64 "): %s", t->what, (int)mode,
		  seed, v.text);
	sim_free(left);
}

/* A failed barrier or table write: no write is ever sent again, and a new job is refused. */
static void judge_poisoned(struct fault_trial *t)
{
	struct bpull_error error;
	uint64_t n_writes = sim_n_ops(t->sim, SIM_WRITE);
	int rc;

	if (!t->pull.disk->poisoned)
		return;
	cr_assert_eq(t->pull.disk->poisoned, t->rc, "%s", t->what);
	rc = bpull_job_start(t->pull.disk, NULL, &error);
	cr_assert_eq(rc, t->rc, "%s: a poisoned disk was not refused", t->what);
	for (int i = 0; i < 10; i++)
		bpull_engine_process(t->pull.engine, NULL, 0);
	cr_assert_eq(sim_n_ops(t->sim, SIM_WRITE), n_writes, "%s: written to", t->what);
}

void fault_trial_pull(struct fault_trial *t)
{
	t->rc = sim_pull_open(&t->pull, t->chain, t->sim, NULL, SIM_PULL_MEMORY,
			      4 * t->chain->cluster_len);
	if (t->rc)
		return;
	t->rc = sim_pull_run(&t->pull);
	cr_assert_neq(t->rc, -ETIME, "%s: it hangs", t->what);
	if (!t->rc && t->pull.status != BPULL_JOB_COMPLETED)
		t->rc = t->pull.event_error;
	cr_assert(!t->pull.lost_event, "%s: no event", t->what);
	if (t->fault.op == SIM_SYNC && t->rc && t->pull.has_event)
		cr_assert(t->pull.disk->poisoned, "%s: written to after a failed barrier", t->what);
	judge_poisoned(t);
	t->n_unnoticed = t->pull.engine->n_ahead_failed;
	sim_pull_close(&t->pull);
}

void fault_trial_judge(struct fault_trial *t)
{
	struct sim_pull again;
	int rc;

	sim_clear_faults(t->sim);
	judge(t, t->sim, "afterwards", t->rc == 0);
	judge_cut(t, SIM_CUT_ALL_LOST, 1);
	judge_cut(t, SIM_CUT_ALL_KEPT, 1);
	judge_cut(t, SIM_CUT_ONLY_LAST, 1);
	judge_cut(t, SIM_CUT_RANDOM, t->fault.nth);
	rc = sim_pull_whole(t->chain, t->sim, SIM_PULL_MEMORY, 0, &again);
	cr_assert_eq(rc, 0, "%s, pulled again: %s %s%s", t->what, strerror(-rc),
		     again.error.message, again.message);
	judge(t, t->sim, "pulled again", true);
	cr_assert(sim_chain_backing_is_same(t->chain, t->sim), "%s: a backing file was changed",
		  t->what);
}
