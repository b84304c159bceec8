/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Whole pulls inside the simulated machine: every seed is a chain, an order of
 * completions and a pattern of short transfers. What is left must read as the
 * chain did, without a link, without a leak, with the backing files untouched;
 * and the first walk of the chain is proven at once.
 *
 *   SIM_SEEDS=n SIM_SEED=first   more of them, or one again
 *
 * A pull with real files was rejected for this: it shows one order.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "io/base.h"
#include "tests/machine/sim_pull_qemu.h"
#include "tests/support/effort.h"
#include "tests/support/files/scratch.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"

#define QEMU_EVERY 50

TIME_LIMIT(600);
TestSuite(engine_sim, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(600));

static uint64_t n_compressed; /* clusters, in all that was judged */

static uint64_t n_cloned; /* bytes, in all */

static void judge_end(const struct sim_chain *chain, struct sim *sim, uint64_t seed)
{
	struct sim_verdict v;

	sim_pull_judge(chain, sim, &v);
	n_compressed += v.n_compressed;
	cr_assert(v.ok, "seed %" PRIu64 ": %s: %s", seed, chain->text, v.text);
	cr_assert(!v.has_backing, "seed %" PRIu64 ": the link is still there", seed);
	cr_assert_eq(v.n_leaks, 0, "seed %" PRIu64 ": %s: %" PRIu64 " clusters leaked: %s", seed,
		     chain->text, v.n_leaks, v.text);
	cr_assert(sim_chain_backing_is_same(chain, sim),
		  "seed %" PRIu64 ": a backing file was changed", seed);
}

static void judge_qemu(const struct sim_chain *chain, struct sim *sim, uint64_t seed)
{
	struct sim_verdict v;
	bool ran;

	sim_pull_qemu(chain, sim, scratch_dir(), &v, &ran);
	cr_assert(v.ok, "seed %" PRIu64 ": %s: %s", seed, chain->text, v.text);
}

static void set_knobs(struct sim *sim, uint64_t seed)
{
	struct sim_knobs *knobs = sim_knobs(sim);

	knobs->short_permille = (unsigned)(seed % 3 * 150);
	knobs->retry_permille = (unsigned)(seed % 5 * 20);
	knobs->no_holes = seed % 7 == 0;
	knobs->unsure_permille = seed % 6 == 1 ? 400 : 0;
}

static void pull_seed(const struct sim_chain_how *how, uint64_t memory, uint64_t commit_len)
{
	struct sim_chain chain;
	struct sim_pull pull;
	struct sim *sim = sim_new(how->seed);
	int rc;

	sim_chain_draw(&chain, how);
	sim_chain_put(&chain, sim);
	set_knobs(sim, how->seed);
	rc = sim_pull_whole(&chain, sim, memory, commit_len, &pull);
	cr_assert_eq(rc, 0, "seed %" PRIu64 ": %s: %s %s%s", how->seed, chain.text, strerror(-rc),
		     pull.error.message, pull.message);
	/* No guest, no fault, no hole that changed: another walk would hide a mistake of the
	 * first. */
	cr_assert_leq(pull.n_rounds, 1, "seed %" PRIu64 ": %s: proven after %u walks", how->seed,
		      chain.text, pull.n_rounds);
	n_cloned += pull.n_cloned;
	judge_end(&chain, sim, how->seed);
	if (how->seed % QEMU_EVERY == 0)
		judge_qemu(&chain, sim, how->seed);
	sim_chain_free(&chain);
	sim_free(sim);
}

static void pull_seeds(struct sim_chain_how how, uint64_t n)
{
	uint64_t first = sim_pull_env("SIM_SEED", 1);

	n = sim_pull_env("SIM_SEEDS", EFFORT(n));
	fprintf(stderr, "seeds %" PRIu64 " to %" PRIu64 "\n", first, first + n - 1);
	for (uint64_t seed = first; seed < first + n; seed++) {
		bool large = seed % 4 == 0;

		how.seed = seed;
		pull_seed(&how, large ? 8 * MiB : SIM_PULL_MEMORY,
			  large ? 0 : (1 + seed % 50) * 4096);
	}
}

Test(engine_sim, any_chain_is_pulled_whole_and_clean)
{
	pull_seeds((struct sim_chain_how){ 0 }, 600);
}

/* QED over QED and qcow2 in turn, and over raw with and without a record of it. */
Test(engine_sim, qed_over_any_format_is_pulled_whole)
{
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QED, .any_below_qed = true }, 300);
	pull_seeds((struct sim_chain_how){ .any_below_qed = true, .to_base = true }, 100);
}

/* Shared blocks instead of copies, and what must be copied all the same. */
Test(engine_sim, clones_take_the_place_of_copies)
{
	pull_seeds((struct sim_chain_how){ .cluster_bits = 12, .clone = SIM_CLONE_WORKS }, 200);
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
					   .cluster_bits = 13,
					   .refcount_bits = 16,
					   .n_snapshots = 2,
					   .clone = SIM_CLONE_WORKS },
		   100);
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
					   .cluster_bits = 12,
					   .to_base = true,
					   .clone = SIM_CLONE_WORKS },
		   100);
	cr_assert_gt(n_cloned, EFFORT(10 * MiB));
}

Test(engine_sim, clones_that_are_refused_are_copied_instead)
{
	pull_seeds((struct sim_chain_how){ .cluster_bits = 12, .clone = SIM_CLONE_REFUSED }, 100);
	cr_assert_eq(n_cloned, 0);
	/* By one layer, and not by the next. */
	pull_seeds((struct sim_chain_how){ .cluster_bits = 12, .clone = SIM_CLONE_SOME }, 200);
	if (!sim_pull_env("SIM_SEED", 0))
		cr_assert_gt(n_cloned, EFFORT(2 * MiB));
}

/* A file system without direct I/O, and one with blocks larger than the clusters. */
Test(engine_sim, direct_is_refused_where_it_cannot_be)
{
	static const struct {
		uint32_t align;
		const char *words;
	} cases[] = { { 1, "no direct I/O" }, { 4096, "smaller than the blocks of direct I/O" } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sim_chain_how how = { .seed = 5, .format = IMAGE_QCOW2, .cluster_bits = 9 };
		struct bpull_disk_options o = { .size = sizeof(o),
						.backing_rule = BPULL_BACKING_ANY,
						.flags = BPULL_DISK_DIRECT };
		struct sim *sim = sim_new(how.seed);
		struct bpull_engine *engine;
		struct bpull_error error;
		struct bpull_disk *disk;
		struct sim_chain chain;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		sim_knobs(sim)->io_align = cases[i].align;
		o.backing_format = (enum bpull_format)chain.unnamed;
		cr_assert_eq(engine_open_on(sim_io(sim), sim_opener(sim), SIM_PULL_MEMORY, &engine),
			     0);
		cr_assert_eq(bpull_disk_open(engine, SIM_CHAIN_TOP, &o, &disk, &error), -ENOTSUP);
		cr_assert(strstr(error.message, cases[i].words), "%s", error.message);
		o.flags |= BPULL_DISK_READ_ONLY;
		cr_assert_eq(bpull_disk_open(engine, SIM_CHAIN_TOP, &o, &disk, &error), -EINVAL);
		bpull_engine_close(engine);
		sim_chain_free(&chain);
		sim_free(sim);
	}
}

/* Clusters in pieces, as at a low rate; with snapshots, for all copies of a cluster. */
Test(engine_sim, large_clusters_are_pulled_in_pieces)
{
	pull_seeds(
		(struct sim_chain_how){ .cluster_bits = 16, .n_clusters = 20, .piece_len = 4096 },
		100);
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
					   .cluster_bits = 14,
					   .refcount_bits = 16,
					   .n_snapshots = 2,
					   .piece_len = 8192 },
		   100);
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
					   .cluster_bits = 13,
					   .to_base = true,
					   .piece_len = 4096 },
		   100);
}

/* In any order, and whatever the list says: the first walk is still the proof. */
Test(engine_sim, any_ranges_are_copied_first)
{
	pull_seeds((struct sim_chain_how){ .first = true }, 300);
	pull_seeds((struct sim_chain_how){ .first = true, .any_below_qed = true, .to_base = true },
		   100);
	pull_seeds((struct sim_chain_how){ .first = true,
					   .format = IMAGE_QCOW2,
					   .cluster_bits = 13,
					   .refcount_bits = 16,
					   .n_snapshots = 2,
					   .clone = SIM_CLONE_SOME },
		   100);
	pull_seeds((struct sim_chain_how){ .first = true,
					   .format = IMAGE_QCOW2,
					   .version = 3,
					   .extended = true,
					   .cluster_bits = 14,
					   .piece_len = 4096 },
		   50);
	pull_seeds((struct sim_chain_how){ .first = true,
					   .format = IMAGE_QCOW2,
					   .compression = BPULL_COMPRESSION_OWN },
		   50);
}

/* The proof knows of disks that end behind the guest's, to a base too. */
Test(engine_sim, snapshots_longer_than_the_disk_are_pulled_whole)
{
	for (unsigned i = 0; i < 2; i++)
		pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
						   .version = 3,
						   .cluster_bits = 10,
						   .refcount_bits = 8,
						   .n_snapshots = 2,
						   .longer = true,
						   .to_base = i },
			   60);
}

/* Refcount blocks are added, at every width. */
Test(engine_sim, a_full_refcount_block_gets_a_neighbour)
{
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2, .full_block = true }, 200);
}

/* Compressed, whatever the width of the refcounts that the host clusters share. */
Test(engine_sim, chains_are_pulled_compressed)
{
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
					   .compression = BPULL_COMPRESSION_OWN },
		   200);
	for (unsigned order = 0; order <= 6; order += 3) {
		unsigned type = order < 4 ? BPULL_COMPRESSION_ZSTD : BPULL_COMPRESSION_OWN;

		n_compressed = 0;
		pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
						   .version = 3,
						   .cluster_bits = 12,
						   .refcount_bits = 1u << order,
						   .full_block = order < 4,
						   .compression = type },
			   60);
		cr_assert_gt(n_compressed, EFFORT(1000), "%" PRIu64, n_compressed);
	}
}

/* The refcount table moves: also where the header gets a new link, whose draft is older than
 * that. */
Test(engine_sim, a_full_refcount_table_moves)
{
	for (unsigned i = 0; i < 6; i++)
		pull_seeds((struct sim_chain_how){ .format = IMAGE_QCOW2,
						   .version = 3,
						   .cluster_bits = 9,
						   .refcount_bits = 1u << (4 + i % 3),
						   .n_clusters = 400,
						   .full_table = true,
						   .to_base = i >= 3 },
			   i < 3 ? 40 : 20);
}

Test(engine_sim, qed_is_pulled_whole_and_clean)
{
	pull_seeds((struct sim_chain_how){ .format = IMAGE_QED,
					   .n_clusters = 1200,
					   .cluster_bits = 12 },
		   60);
}
