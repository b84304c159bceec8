/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Many disks of one engine over the same base, pulled at the same time, in one
 * simulated machine that counts what is read of backing files. What one job reads
 * feeds the others: undisturbed, all of them together read no more than one alone.
 * Some are paused, aborted, slow, late, or find no space or a broken disk; the others
 * go on, and no disk ever holds another byte than it may.
 *
 *   CONVOY_SEEDS=n CONVOY_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "engine/copy/walk/walk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"
#include "tests/whole/plays/convoy_world.h"

TIME_LIMIT(600);
TestSuite(convoy, .timeout = TIME_LIMIT_CLOCK(600));

static void draw_world(struct world *w, uint64_t seed, unsigned n)
{
	static const unsigned bits[] = { 12, 16, 16, 19 };
	struct sim_chain_how how = { .seed = seed / 2 + 1,
				     .cluster_bits = bits[seed / 2 % ARRAY_LEN(bits)],
				     .stretch = 1 + seed % 40,
				     .max_depth = 1 + seed % 3,
				     .format = seed % 7 ? IMAGE_QCOW2 : IMAGE_QED };

	how.n_clusters = (unsigned)((1 + seed % 6) * MiB >> how.cluster_bits) + 1;
	if (how.cluster_bits == 12)
		how.n_clusters = MIN(how.n_clusters, 400);
	*w = (struct world){ .seed = seed, .state = seed, .n = n };
	sim_chain_draw(&w->chain, &how);
}

/* Bytes that undisturbed jobs of n disks read of backing files. */
static uint64_t read_by(uint64_t seed, unsigned n)
{
	struct world w;
	uint64_t len;

	draw_world(&w, seed, n);
	w.is_counted = true;
	world_begin(&w);
	for (unsigned i = 0; i < n; i++)
		world_start(&w, &w.disks[i]);
	world_run(&w);
	len = sim_far_bytes(w.sim);
	for (unsigned i = 0; i < n; i++)
		world_judge_end(&w, &w.disks[i]);
	world_end(&w);
	return len;
}

static void play(uint64_t seed)
{
	struct world w;

	draw_world(&w, seed, 2 + (unsigned)(seed % (MAX_DISKS - 1)));
	world_begin(&w);
	for (unsigned i = 0; i < w.n; i++) {
		struct convoy_disk *d = &w.disks[i];

		d->when = 1 + world_draw(&w, 60);
		d->trouble = i && world_draw(&w, 2) ? (enum trouble)world_draw(&w, N_TROUBLES)
						    : UNDISTURBED;
		if (d->trouble != LATE)
			world_start(&w, d);
	}
	w.source_fails = !world_draw(&w, 3);
	w.stalls = seed % 2;
	if (w.source_fails)
		sim_fail(w.sim,
			 &(struct sim_fault){ .op = SIM_READ,
					      .nth = 1 + world_draw(&w, 10),
					      .error = -EIO,
					      .persists = true,
					      .name = w.chain.files[w.chain.n_files - 1].name });
	world_run(&w);
	for (unsigned i = 0; i < w.n; i++)
		world_judge_end(&w, &w.disks[i]);
	world_end(&w);
}

/* ---- a stall ---- */

/* Else the machine's clock would jump over the time in which the others wait. */
static void tick(void *arg)
{
	struct world *w = arg;

	sim_later(w->sim, sim_now_ns(w->sim) + 20 * MS, tick, w);
}

#define STALL_DISKS 4
#define STALL_RATE  (512 * KiB)

/* Bytes that disks read of a base which takes half a minute to read, where so many of them stall
 * for so long, one after the other. */
static uint64_t read_with_stalls(uint64_t seed, unsigned n_stalled, uint64_t ns)
{
	struct sim_chain_how how = { .seed = seed,
				     .cluster_bits = 16,
				     .n_clusters = 48 * MiB >> 16,
				     .stretch = 384,
				     .max_depth = 1,
				     .format = IMAGE_QCOW2 };
	struct world w = { .seed = 3 * seed, .state = seed, .n = STALL_DISKS, .is_counted = true };
	unsigned n_begun = 0;
	uint64_t len;

	sim_chain_draw(&w.chain, &how);
	world_begin(&w);
	sim_knobs(w.sim)->far_rate = STALL_RATE;
	sim_knobs(w.sim)->far_latency_ns = MS;
	tick(&w);
	for (unsigned i = 0; i < w.n; i++)
		world_start(&w, &w.disks[i]);
	for (unsigned i = 0; world_is_at_work(&w, false); i++) {
		uint64_t from = (2 + 4 * (uint64_t)n_begun) * MiB;

		world_assert(&w, i < MAX_CALLS, "it hangs");
		if (n_begun < n_stalled && sim_far_bytes(w.sim) >= from)
			world_stall(&w, &w.disks[1 + n_begun++], ns);
		world_take_events(&w);
		if (sim_far_bytes(w.sim) >= from + MiB / 2)
			world_end_stall(&w);
	}
	sim_later_drop(w.sim, &w);
	len = sim_far_bytes(w.sim);
	for (unsigned i = 0; i < w.n; i++)
		world_judge_end(&w, &w.disks[i]);
	world_end(&w);
	return len;
}

static void judge_stalls(uint64_t seed, unsigned n_stalled, uint64_t ns, uint64_t most)
{
	uint64_t len = read_with_stalls(seed, n_stalled, ns);

	cr_assert_leq(len, most,
		      "CONVOY_SEED=%" PRIu64 ": %u stalls of %" PRIu64 " ms: %" PRIu64
		      " bytes read where %" PRIu64 " are enough",
		      seed, n_stalled, ns / MS, len, most);
}

/* The others wait for it for three seconds when they are a window ahead, and then go on. What is
 * read once more is what they come on by until its stall is over, but for what is kept: of the
 * longer one 4 MiB at most. */
static void stall_for(uint64_t seed)
{
	uint64_t none = read_with_stalls(seed, 0, 0);

	cr_assert_gt(none, 16 * MiB, "the base has too little for a gap to show");
	judge_stalls(seed, 1, 3000 * MS, none + 64 * KiB);
	judge_stalls(seed, 1, 12000 * MS, none + 4 * MiB);
	judge_stalls(seed, 3, 12000 * MS, none + 3 * 4 * MiB);
}

static void for_seeds(void (*each)(uint64_t seed), uint64_t n)
{
	uint64_t first = sim_pull_env("CONVOY_SEED", 0);

	n = sim_pull_env("CONVOY_SEEDS", first ? 1 : n);
	for (uint64_t seed = MAX(first, UINT64_C(1)); n; seed++, n--)
		each(seed);
}

/* All with room to keep what is read: seeds that begin() gives no less. */
static void compare(uint64_t seed)
{
	uint64_t one, many;

	if (seed % 3 == 2)
		return;
	one = read_by(seed, 1);
	many = read_by(seed, 2 + (unsigned)(seed % (MAX_DISKS - 1)));
	cr_assert_leq(many, one + one / 50 + 64 * KiB,
		      "CONVOY_SEED=%" PRIu64 ": %u disks read %" PRIu64
		      " bytes, and one alone %" PRIu64,
		      seed, 2 + (unsigned)(seed % (MAX_DISKS - 1)), many, one);
}

Test(convoy, reads_its_base_once)
{
	for_seeds(compare, EFFORT(20));
}

Test(convoy, a_stall_costs_what_the_others_come_on_by)
{
	stall_for(2); /* bases that hold enough */
	stall_for(3);
}

Test(convoy, goes_on_without_those_in_trouble)
{
	for_seeds(play, EFFORT(60));
	/* An eighth is too few for all kinds of trouble. */
	if (sim_pull_env("CONVOY_SEED", 0) || sim_pull_env("CONVOY_SEEDS", 0) || EFFORT_DIVISOR > 1)
		return;
	cr_assert_gt(world_met.failed, EFFORT(10));
	cr_assert_gt(world_met.canceled, EFFORT(4));
	cr_assert_gt(world_met.fed_late, EFFORT(10), "no late one has begun in the middle");
}
