/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Chains that are committed and compacted under a guest, while the power is cut at each operation,
 * and while each call fails in turn: the image that was the disk reads what it may at any cut, and
 * so does the one that it was committed into, from the end on (I10, I11). What failed goes on to
 * its end in a machine that works, or has room again.
 *
 *   CHAIN_SEED=first CHAIN_SEEDS=n   other chains, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/effort.h"
#include "tests/support/random.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/each_fault.h"
#include "tests/whole/chains/snap_trial.h"

TIME_LIMIT(900);
TestSuite(chain_sim, .timeout = TIME_LIMIT_CLOCK(900));

static const struct sim_chain_how kinds[] = {
	{ SIM_V3(9, 0), SIM_SIZE(24, 3) },
	{ SIM_SMALL_QED, SIM_SIZE(4, 3) },
	{ SIM_V3(9, 16), SIM_SIZE(24, 4) },
	{ SIM_V3(9, 8), SIM_SIZE(24, 2), .full_block = true },
};

static unsigned n_done, n_refused;

/* What a seed asks for. Of each chain: the image into the next file, into the last, files between,
 * and a file that takes what is below it. */
static void choose_job(struct snap_trial *t, const struct sim_chain *chain, unsigned which)
{
	unsigned last = chain->n_files - 1;

	t->job.kind = which < 3 ? SNAP_COMMIT : SNAP_COMPACT;
	t->job.top = which < 2 ? 0 : 1;
	t->job.base = which == 0 ? 1 : which < 3 ? last : MIN(last, 3u);
	t->job.flags = chain->how.seed % 2 ? BPULL_JOB_VERIFY : 0;
}

static void begin(struct snap_trial *t, const struct sim_chain *chain, unsigned which)
{
	static const char *const names[] = { "/none" };

	*t = (struct snap_trial){ .base.sim = sim_new(chain->how.seed) };
	sim_chain_put(chain, t->base.sim);
	choose_job(t, chain, which);
	snprintf(t->base.what, sizeof(t->base.what), "seed %" PRIu64 ", job %u", chain->how.seed,
		 which);
	snap_trial_begin(t, chain, chain->want, names);
}

static void end(struct snap_trial *t)
{
	snap_trial_end(t);
	sim_free(t->base.sim);
}

/* Operations of an undisturbed session; 0: it was refused. */
static uint64_t live_once(const struct sim_chain *chain, unsigned which)
{
	struct snap_trial t;
	uint64_t n_ops;

	begin(&t, chain, which);
	cr_assert_eq(snap_trial_live(&t), 0, "%s", t.base.what);
	cr_assert(t.base.completed || t.job.was_refused, "%s: it did not complete", t.base.what);
	snap_trial_judge_cuts(&t, "at the end", 0);
	n_ops = t.job.was_refused ? 0 : sim_n_all_ops(t.base.sim);
	n_done += n_ops != 0;
	n_refused += !n_ops;
	end(&t);
	return n_ops;
}

struct chain_job {
	const struct sim_chain *chain;
	unsigned which;
};

static void cut_at(const void *arg, uint64_t k)
{
	const struct chain_job *job = arg;
	struct snap_trial t;

	begin(&t, job->chain, job->which);
	t.base.may_fail = true;
	snprintf(t.base.what, sizeof(t.base.what),
		 "seed %" PRIu64 ", job %u, cut at operation %" PRIu64, job->chain->how.seed,
		 job->which, k);
	sim_stop_at(t.base.sim, k);
	snap_trial_live(&t);
	snap_trial_judge_cuts(&t, "after a cut", k);
	end(&t);
}

static void cut_at_each(const struct sim_chain *chain, unsigned which)
{
	struct chain_job job = { chain, which };

	each_cut(live_once(chain, which), chain->how.seed, cut_at, &job);
}

/* False: there were fewer such calls. */
static bool fail_nth(const void *arg, const struct sim_fault *fault)
{
	const struct chain_job *job = arg;
	const struct sim_chain *chain = job->chain;
	unsigned which = job->which;
	struct snap_trial t;
	bool hit;

	begin(&t, chain, which);
	t.base.may_fail = true;
	snprintf(t.base.what, sizeof(t.base.what),
		 "seed %" PRIu64 ", job %u, call %" PRIu64 " of kind %d fails %s: %s",
		 chain->how.seed, which, fault->nth, (int)fault->op,
		 fault->forever ? "for ever" : "once", strerror(-fault->error));
	sim_fail(t.base.sim, fault);
	snap_trial_live(&t);
	hit = sim_n_faults_hit(t.base.sim);
	sim_clear_faults(t.base.sim);
	snap_trial_judge_cuts(&t, "and a cut", fault->nth);
	/* A link that can't be known leads around the files that were to go. */
	if (!t.base.completed && (which != 2 || sim_chain_link(chain, t.base.sim) == 1))
		snap_trial_again(&t);
	end(&t);
	return hit;
}

static void fail_each(const struct sim_chain *chain, unsigned which)
{
	static const enum sim_op ops[] = { SIM_READ, SIM_WRITE, SIM_SYNC, SIM_TRUNCATE, SIM_WORK };
	struct chain_job job = { chain, which };

	if (!live_once(chain, which))
		return;
	each_fault(ops, ARRAY_LEN(ops), fail_nth, &job);
}

static void each_kind(uint64_t n_seeds, void (*try)(const struct sim_chain *chain, unsigned which))
{
	uint64_t first = sim_pull_env("CHAIN_SEED", 1), n = sim_pull_env("CHAIN_SEEDS", n_seeds);

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain_how how = kinds[seed % ARRAY_LEN(kinds)];
		struct sim_chain chain;

		how.seed = seed;
		sim_chain_draw(&chain, &how);
		for (unsigned which = 0; which < 4 && chain.n_files > 2; which++)
			try(&chain, which);
		sim_chain_free(&chain);
	}
	fprintf(stderr, "%u jobs, %u refused\n", n_done, n_refused);
	cr_assert(n < 4 || n_done > n_refused, "too few jobs");
}

Test(chain_sim, a_power_cut_leaves_the_disk)
{
	each_kind(4, cut_at_each);
}

Test(chain_sim, a_failed_call_leaves_the_disk)
{
	each_kind(4, fail_each);
}

static void live(const struct sim_chain *chain, unsigned which)
{
	live_once(chain, which);
}

Test(chain_sim, jobs_end_well)
{
	each_kind(EFFORT(60), live);
}
