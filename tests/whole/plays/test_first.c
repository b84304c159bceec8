/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Plays in which jobs are told what to copy first: random ranges, sound and not, and
 * what lies around the reads of a guest that a slow base holds up; with stops, faults,
 * full disks and power cuts. A list changes nothing of what the plays of test_model.c
 * demand; these are the same.
 *
 *   FIRST_SEEDS=n FIRST_SEED=first   more of them, or one again
 */
#include "tests/whole/plays/play.h"
#include "tests/support/effort.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(1200);
TestSuite(first, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(1200));

static void draw(struct sim_chain *chain, uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed / 8 + 1,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 9 + seed / 64 % 4,
				     .n_clusters = 12 + seed / 8 % 40 };

	switch (seed / 8 % 6) {
	case 0:
		how.format = IMAGE_QED;
		how.version = 0;
		how.cluster_bits = 12;
		break;
	case 1:
		how.n_snapshots = 1 + seed / 64 % 2;
		how.refcount_bits = 4u << seed / 64 % 3;
		break;
	case 2: how.data_file = true; break;
	case 3: how.compression = BPULL_COMPRESSION_OWN; break;
	case 4:
		how.cluster_bits = 12;
		how.clone = 1 + seed / 128 % 3;
		break;
	default: how.full_block = true; break;
	}
	sim_chain_draw(chain, &how);
}

static void play_seeds(uint64_t n, const struct play *how)
{
	uint64_t first = sim_pull_env("FIRST_SEED", 8), n_seeds = 0;
	struct sim_chain chain;

	n_seeds = sim_pull_env("FIRST_SEEDS", first == 8 ? EFFORT(n) : 1);
	for (uint64_t seed = first; seed < first + n_seeds; seed++) {
		if (seed == first || seed % 8 == 0)
			(how->shapes ? play_draw_shape : draw)(&chain, seed);
		(void)play(&chain, seed, how);
		if (seed == first + n_seeds - 1 || seed % 8 == 7)
			sim_chain_free(&chain);
	}
	fprintf(stderr, "FIRST_SEED %" PRIu64 " to %" PRIu64 ": %" PRIu64 " pulls completed\n",
		first, first + n_seeds - 1, play_met.completed);
	if (n_seeds >= EFFORT(300) && !how->base_changes)
		cr_assert_gt(play_met.completed, EFFORT(30));
}

Test(first, a_guest_reads_what_it_may_have_written)
{
	play_seeds(1500, &(struct play){ .has_first = true });
}

Test(first, a_power_cut_leaves_an_image_that_is_right)
{
	play_seeds(500, &(struct play){ .has_first = true, .cuts = true });
}

Test(first, a_fault_loses_no_byte_of_a_guest)
{
	play_seeds(600, &(struct play){ .has_first = true, .faults = true });
}

Test(first, want_of_room_loses_nothing_and_passes)
{
	play_seeds(600, &(struct play){ .has_first = true, .space = true });
}

Test(first, a_base_that_changes_is_said_to_have)
{
	play_seeds(300, &(struct play){ .has_first = true, .base_changes = true });
}

Test(first, images_at_the_borders_of_formats_are_right)
{
	play_seeds(80, &(struct play){ .has_first = true, .shapes = true });
}
