/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Several disks of one engine over the same backing files, in one simulated
 * machine: guests and jobs beside each other, one that completes, is aborted,
 * closed and opened again while the others run. They share layers, cached
 * tables, buffers, the queue that merges writes and a limiter. What one drops
 * the others still read; only what no disk reads is used for something else. What
 * fails under one is no other's loss, and a power cut leaves each what it may.
 *
 *   NEIGHBOUR_SEEDS=n NEIGHBOUR_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"
#include "tests/whole/plays/neighbours.h"

TIME_LIMIT(900);
TestSuite(neighbours, .timeout = TIME_LIMIT_CLOCK(900));

/* ---- after a power cut ---- */

/* As the machine's only overlay, now and then pulled to its end. */
static void judge_cut_of(struct neighbours *all, const struct neighbour *d, struct sim *machine)
{
	const char *name = neighbour_names[d - all->disks];
	struct sim *left = sim_cut(machine, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	uint8_t *got = sim_need(malloc(all->chain.guest_len));
	struct sim_chain after = all->chain;
	struct sim_verdict v;
	struct sim_pull again;
	unsigned link = sim_chain_link_of(&all->chain, left, name);

	neighbours_assert(all,
			  link == d->link || (link == d->target && (d->job_runs || d->is_unknown)),
			  "%s after a cut: the link is %u, not %u", name, link, d->link);
	if (strcmp(name, SIM_CHAIN_TOP) != 0)
		sim_file_rename(left, name, SIM_CHAIN_TOP);
	sim_guest_judge_cut(&d->guest, &all->chain, left, got, &v);
	neighbours_assert(all, v.ok, "%s after a cut: %s", name, v.text);
	after.want = got;
	if (link < all->chain.n_files && !neighbours_below(all, 8)) {
		int rc = sim_pull_whole(&after, left, SIM_PULL_MEMORY, 0, &again);

		neighbours_assert(all, !rc, "%s pulled after a cut: %s%s", name,
				  again.error.message, again.message);
		sim_pull_judge(&after, left, &v);
		neighbours_assert(all, v.ok && !v.n_leaks, "%s pulled after a cut: %s", name,
				  v.text);
	}
	free(got);
	sim_free(left);
}

/* All disks lose at the same moment. */
static void judge_cut(struct neighbours *all, enum sim_cut_mode mode)
{
	struct sim *left =
		sim_cut(all->sim, &(struct sim_cut){ .mode = mode,
						     .seed = neighbours_below(all, UINT32_MAX) });

	neighbours_met.cut++;
	sim_knobs(left)->hold_ops = 0;
	for (unsigned i = 0; i < N_NEIGHBOURS; i++)
		judge_cut_of(all, &all->disks[i], left);
	sim_free(left);
}

static void cut_now(struct neighbours *all)
{
	static const enum sim_cut_mode modes[] = { SIM_CUT_ALL_LOST, SIM_CUT_ALL_KEPT,
						   SIM_CUT_ONLY_LAST, SIM_CUT_RANDOM,
						   SIM_CUT_RANDOM };

	judge_cut(all, modes[neighbours_below(all, ARRAY_LEN(modes))]);
}

/* ---- the end ---- */

static unsigned n_open(const struct neighbours *all)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_NEIGHBOURS; i++)
		n += all->disks[i].guest.disk != NULL;
	return n;
}

/* As the machine's only overlay. */
static void judge(struct neighbours *all, const struct neighbour *d)
{
	const char *name = neighbour_names[d - all->disks];
	struct sim *left = sim_cut(all->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	uint8_t *got = sim_need(malloc(all->chain.guest_len));
	struct sim_verdict v;

	if (strcmp(name, SIM_CHAIN_TOP) != 0)
		sim_file_rename(left, name, SIM_CHAIN_TOP);
	sim_pull_read(&all->chain, left, got, &v);
	neighbours_assert(all, v.ok && !v.n_leaks, "%s at the end: %s", name, v.text);
	for (uint64_t i = 0; i < all->chain.guest_len; i++)
		neighbours_assert(all, model_is_legal(&d->guest.model, i, got[i]),
				  "%s at the end: byte %" PRIu64 " is %#x; the link is %u of %u",
				  name, i, got[i], sim_chain_link(&all->chain, left),
				  all->chain.n_files);
	free(got);
	sim_free(left);
}

static void play(struct neighbours *all)
{
	all->sim = sim_new(all->seed);
	sim_chain_put(&all->chain, all->sim);
	for (unsigned i = 1; i < N_NEIGHBOURS; i++)
		sim_chain_put_twin(&all->chain, all->sim, neighbour_names[i]);
	if (all->seed % 4 == 3) {
		sim_knobs(all->sim)->hold_ops = 1u << all->seed / 4 % 3;
		sim_knobs(all->sim)->hold_permille = 200;
	}
	cr_assert_eq(engine_open_on(sim_io(all->sim), sim_opener(all->sim),
				    neighbours_below(all, 2) ? SIM_PULL_MEMORY : 8 * MiB,
				    &all->engine),
		     0);
	all->engine->budget.commit_len = (1 + neighbours_below(all, 40)) * 4096;
	for (unsigned i = 0; i < N_NEIGHBOURS; i++) {
		all->disks[i].link = 1;
		model_begin(&all->disks[i].guest.model, all->chain.want, all->chain.guest_len);
		neighbours_open(all, &all->disks[i]);
	}
	for (unsigned n = 60 + (unsigned)neighbours_below(all, 200); n; n--) {
		neighbours_live(all, &all->disks[neighbours_below(all, N_NEIGHBOURS)]);
		if (neighbours_below(all, 3))
			neighbours_take_events(all);
		if (all->cuts && !neighbours_below(all, 6))
			cut_now(all);
		if (all->faults && !neighbours_below(all, 12))
			neighbours_break(all);
		if (all->faults && !neighbours_below(all, 12))
			neighbours_mend(all);
	}
	neighbours_mend(all);
	neighbours_run_until(all, NULL, false);
	if (n_open(all) && neighbours_below(all, 2)) {
		for (unsigned i = 0; i < N_NEIGHBOURS; i++)
			if (all->disks[i].job_runs)
				bpull_job_resume(all->disks[i].guest.disk);
		neighbours_run_until(all, NULL, true);
	}
	for (unsigned i = 0; i < N_NEIGHBOURS; i++) {
		neighbours_note_loss(all, &all->disks[i]);
		all->disks[i].is_unknown |= all->disks[i].job_runs;
	}
	bpull_engine_close(all->engine);
	if (all->faults) {
		judge_cut(all, SIM_CUT_ALL_KEPT);
		judge_cut(all, SIM_CUT_ALL_LOST);
	}
	for (unsigned i = 0; i < N_NEIGHBOURS; i++) {
		if (!all->faults)
			judge(all, &all->disks[i]);
		model_end(&all->disks[i].guest.model);
	}
	sim_free(all->sim);
}

static void play_seed(uint64_t seed, bool faults, bool cuts)
{
	struct neighbours all = { .seed = seed, .state = seed, .faults = faults, .cuts = cuts };
	struct sim_chain_how how = { .seed = seed / 4 + 1,
				     .n_clusters = 10 + seed % 30,
				     .cluster_bits = 12,
				     .clone = seed / 4 % 4,
				     .format = seed % 5 ? IMAGE_QCOW2 : IMAGE_QED };

	sim_chain_draw(&all.chain, &how);
	play(&all);
	sim_chain_free(&all.chain);
}

static void play_seeds(bool faults, bool cuts, uint64_t n)
{
	uint64_t first = sim_pull_env("NEIGHBOUR_SEED", 0);

	n = sim_pull_env("NEIGHBOUR_SEEDS", first ? 1 : n);
	for (uint64_t seed = MAX(first, UINT64_C(1)); n; seed++, n--)
		play_seed(seed, faults, cuts);
}

static bool is_few(void)
{
	return sim_pull_env("NEIGHBOUR_SEED", 0) || neighbours_met.completed < EFFORT(100);
}

Test(neighbours, over_the_same_files_read_their_own)
{
	play_seeds(false, false, EFFORT(1200));
	if (is_few())
		return;
	cr_assert_gt(neighbours_met.beside, neighbours_met.completed / 4,
		     "no guest was at work beside the end of a job");
	cr_assert_gt(neighbours_met.closed_beside, EFFORT(50));
	cr_assert_gt(neighbours_met.ruined, EFFORT(50));
}

Test(neighbours, of_which_some_fail_spoil_no_other)
{
	/* Of an eighth too few disks are given up. */
	play_seeds(true, false, MAX(EFFORT(200), 60));
	if (is_few())
		return;
	cr_assert_gt(neighbours_met.failed, EFFORT(30));
	cr_assert_gt(neighbours_met.poisoned, EFFORT(30));
}

/* Writing the header without the link fails, and so does making the old one durable again. */
Test(neighbours, of_which_one_cannot_know_its_link_go_on)
{
	play_seed(UINT64_C(28828103580), true, false);
}

Test(neighbours, in_power_cuts_keep_what_was_flushed)
{
	play_seeds(false, true, EFFORT(60));
	if (is_few())
		return;
	cr_assert_gt(neighbours_met.cut, EFFORT(500));
}
