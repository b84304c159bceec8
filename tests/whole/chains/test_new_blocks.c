/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Orders that only show where a commit adds a refcount block (I2): chains whose blocks are full but
 * for so many clusters, so that the next block is due at each place of a session in turn. Disks
 * become longer, get snapshots, are pulled, compacted and committed; each_epoch.h says what of the
 * writes is lost.
 *
 *   BLOCKS_SEED=first BLOCKS_SEEDS=n   other chains, or one again
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_chains.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/each_epoch.h"
#include "tests/whole/chains/grow_trial.h"
#include "tests/whole/chains/snap_trial.h"

TIME_LIMIT(900);
TestSuite(new_blocks, .timeout = TIME_LIMIT_CLOCK(900));

/* Clusters that a block of these counts, and half as many again: a session takes about so many. */
#define N_LEFT 96

static const struct sim_chain_how kinds[] = {
	{ SIM_V3(9, 64), SIM_SIZE(24, 3), .full_block = true, .full_below = true },
	{ SIM_V3(9, 64), SIM_SIZE(24, 3), .full_block = true, .n_snapshots = 2 },
	{ SIM_V3(10, 64), SIM_SIZE(12, 2), .full_block = true, .full_below = true },
	{ SIM_FULL_TABLE, SIM_SIZE(12, 2), .full_below = true },
};

static unsigned n_looks;

static void draw(struct sim_chain *chain, uint64_t seed)
{
	struct sim_chain_how how = kinds[seed % ARRAY_LEN(kinds)];

	how.seed = seed;
	how.block_left = 1 + (unsigned)(seed % N_LEFT);
	sim_chain_draw(chain, &how);
}

static void each_seed(uint64_t n_seeds, void (*try)(const struct sim_chain *chain))
{
	uint64_t first = sim_pull_env("BLOCKS_SEED", 1), n = sim_pull_env("BLOCKS_SEEDS", n_seeds);

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain chain;

		draw(&chain, seed);
		try(&chain);
		sim_chain_free(&chain);
	}
	fprintf(stderr, "%u looks\n", n_looks);
	cr_assert(n < 8 || n_looks > n, "too few looks");
}

/* ---- longer disks ---- */

static void judge_grown(const void *trial, struct sim *left, const char *when)
{
	grow_trial_judge(trial, left, when, NULL);
}

static void become_longer(const struct sim_chain *chain)
{
	struct grow_trial t = { .base.sim = sim_new(chain->how.seed) };
	struct epochs epochs = { .sim = t.base.sim, .judge = judge_grown, .trial = &t };

	sim_chain_put(chain, t.base.sim);
	grow_trial_begin(&t, chain, chain->want, chain->guest_len);
	snprintf(t.base.what, sizeof(t.base.what), "seed %" PRIu64, chain->how.seed);
	epochs_begin(&epochs);
	cr_assert_eq(grow_trial_live(&t), 0);
	epochs_end(&epochs);
	cr_assert_eq(t.n_grown, 2);
	n_looks += epochs.n_looks;
	grow_trial_end(&t);
	sim_free(t.base.sim);
}

Test(new_blocks, a_longer_disk_survives_any_lost_write)
{
	each_seed(EFFORT(N_LEFT), become_longer);
}

/* ---- snapshots, and jobs among the files ---- */

static void judge_snapped(const void *trial, struct sim *left, const char *when)
{
	snap_trial_judge(trial, left, when, false);
}

static void live(const struct sim_chain *chain, struct snap_trial *t)
{
	static const char *const names[SNAP_MAX] = { "/one",  "/two",  "/three",
						     "/four", "/five", "/six" };
	struct epochs epochs = { .judge = judge_snapped, .trial = t };

	epochs.sim = t->base.sim = sim_new(chain->how.seed);
	sim_chain_put(chain, t->base.sim);
	snap_trial_begin(t, chain, chain->want, names);
	snprintf(t->base.what, sizeof(t->base.what), "seed %" PRIu64 ", job %d from %u to %u",
		 chain->how.seed, (int)t->job.kind, t->job.top, t->job.base);
	epochs_begin(&epochs);
	cr_assert_eq(snap_trial_live(t), 0, "%s", t->base.what);
	epochs_end(&epochs);
	cr_assert(t->base.completed || t->job.was_refused, "%s: it did not complete", t->base.what);
	n_looks += epochs.n_looks;
	snap_trial_end(t);
	sim_free(t->base.sim);
}

static void get_snapshots(const struct sim_chain *chain)
{
	struct snap_trial t = { 0 };

	live(chain, &t);
}

Test(new_blocks, a_snapshot_survives_any_lost_write)
{
	each_seed(EFFORT(N_LEFT), get_snapshots);
}

static void change_files(const struct sim_chain *chain)
{
	unsigned last = chain->n_files - 1, which = (unsigned)(chain->how.seed / 4 % 4);
	struct snap_trial t = { 0 };

	if (chain->n_files < 3)
		return;
	t.job.kind = which < 3 ? SNAP_COMMIT : SNAP_COMPACT;
	t.job.top = which < 2 ? 0 : 1;
	t.job.base = which == 0 ? 1 : which < 3 ? last : MIN(last, 3u);
	live(chain, &t);
}

Test(new_blocks, a_job_survives_any_lost_write)
{
	each_seed(EFFORT(2 * N_LEFT), change_files);
}
