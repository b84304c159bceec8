/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Power cuts. After a cut at any moment of a pull the image must open, check
 * without corruption, read as before, and be pulled to its end by a second
 * job; once COMPLETED was reported, the link must be gone in every state. That
 * the search would find a bug is shown in test_crash_bugs.c.
 *
 *   CRASH_STATES=n   how many different states to judge; CRASH_SEED=first
 *   CRASH_QEMU=n     qemu-img judges one of n as well
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/machine/sim_chains.h"
#include "tests/whole/crash_cuts.h"
#include "tests/support/effort.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define DEFAULT_STATES EFFORT(4000)
#define MAX_ROUNDS     1000 /* chains of one configuration */

TIME_LIMIT(3600);
TestSuite(crash, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(3600));

/* clusters are few, so that a pull has some ten commits and each state is judged quickly */
static const struct sim_chain_how configs[] = {
	{ SIM_V2(9), SIM_SIZE(250, 0) },
	{ SIM_V2(12), SIM_SIZE(90, 0) },
	{ SIM_V2(16), SIM_SIZE(30, 0) },
	{ SIM_V3(9, 1), SIM_SIZE(250, 0) },
	{ SIM_V3(9, 16), SIM_SIZE(250, 0) },
	{ SIM_V3(9, 64), SIM_SIZE(250, 0) },
	{ SIM_V3(12, 1), SIM_SIZE(90, 0) },
	{ SIM_V3(12, 64), SIM_SIZE(90, 0) },
	{ SIM_V3(16, 16), SIM_SIZE(30, 0) },
	{ SIM_V3(16, 64), SIM_SIZE(30, 0) },
	{ SIM_V2(9), SIM_SIZE(250, 0), .full_block = true },
	{ SIM_V3(9, 8), SIM_SIZE(250, 0), .full_block = true },
	{ SIM_V3(12, 16), SIM_SIZE(90, 0), .full_block = true },
	{ SIM_V3(16, 64), SIM_SIZE(30, 0), .full_block = true },
	{ SIM_FULL_TABLE, SIM_SIZE(250, 0) },
	{ SIM_V3(9, 32), SIM_SIZE(250, 0), .full_table = true },
	{ SIM_V3(9, 16), SIM_SIZE(250, 0), .full_table = true },
	{ SIM_V3(9, 16), SIM_SIZE(250, 0), .data_file = true },
	{ SIM_V3(12, 1), SIM_SIZE(90, 0), .data_file = true },
	{ SIM_V3(9, 16), SIM_SIZE(200, 4), .to_base = true },
	{ SIM_V2(12), SIM_SIZE(90, 3), .to_base = true },
	{ SIM_V3(16, 1), SIM_SIZE(30, 3), .compression = BPULL_COMPRESSION_ZLIB, .to_base = true },
	{ SIM_V3(9, 16), SIM_SIZE(200, 0), .n_snapshots = 1 },
	{ SIM_V3(12, 4), SIM_SIZE(90, 0), .n_snapshots = 3 },
	{ SIM_V3(12, 8), SIM_SIZE(90, 0), .n_snapshots = 2, .compression = BPULL_COMPRESSION_OWN },
	{ SIM_V3(14, 16), SIM_SIZE(60, 0), .piece_len = 4096 },
	{ SIM_QED(16), SIM_SIZE(30, 0), .piece_len = 8192 },
	{ SIM_V3(12, 16), SIM_SIZE(90, 0), .clone = SIM_CLONE_WORKS },
	{ SIM_SMALL_QED, SIM_SIZE(90, 0), .clone = SIM_CLONE_WORKS },
	{ SIM_SMALL_QED, SIM_SIZE(90, 0) },
	{ SIM_QED(16), SIM_SIZE(30, 0) },
	{ SIM_V3(12, 16), SIM_SIZE(90, 0), .compression = BPULL_COMPRESSION_OWN },
	{ SIM_PACKED_NARROW(2), SIM_SIZE(90, 0) },
	{ SIM_FULL_BLOCK, SIM_SIZE(150, 0), .compression = BPULL_COMPRESSION_OWN },
	{ SIM_V3(16, 1), SIM_SIZE(30, 0), .compression = BPULL_COMPRESSION_ZLIB },
};

static struct sim_chain_how config(size_t i, uint64_t seed)
{
	struct sim_chain_how how = configs[i];

	if (!how.max_depth)
		how.max_depth = 2;
	how.stretch = 2;
	how.seed = seed * ARRAY_LEN(configs) + i;
	return how;
}

struct sum {
	uint64_t n_cuts, n_states, n_resumed, n_qemu, max_leaks, max_compressed, n_pulls;
	uint64_t n_barriers, n_tables_moved, n_blocks_added;
};

/* Refcount blocks of a qcow2 overlay. */
static uint64_t count_blocks(const struct sim *sim)
{
	uint8_t h[104], entry[8];
	uint64_t n = 0;

	sim_file_peek(sim, SIM_CHAIN_TOP, h, sizeof(h), 0);
	for (uint64_t i = 0; i < (uint64_t)be32(h + 56) << be32(h + 20); i += 8) {
		sim_file_peek(sim, SIM_CHAIN_TOP, entry, sizeof(entry), be64(h + 48) + i);
		n += be64(entry) != 0;
	}
	return n;
}

static uint64_t table_off(const struct sim *sim)
{
	uint8_t off[8];

	sim_file_peek(sim, SIM_CHAIN_TOP, off, sizeof(off), 48);
	return be64(off);
}

static void add(struct sum *sum, const struct crash_cuts *cuts)
{
	sum->n_cuts += cuts->n_cuts;
	sum->n_states += cuts->n_states;
	sum->n_resumed += cuts->n_resumed;
	sum->n_qemu += cuts->n_qemu;
	sum->max_leaks = MAX(sum->max_leaks, cuts->max_leaks);
	sum->max_compressed = MAX(sum->max_compressed, cuts->max_compressed);
	sum->n_barriers += cuts->io->n_syncs;
	sum->n_pulls++;
}

static void cut_pull(const struct sim_chain_how *how, struct sum *sum)
{
	struct sim *sim = sim_new(how->seed);
	struct crash_cuts cuts;
	struct sim_chain chain;
	struct crash_io io;
	uint64_t before;
	int rc;

	sim_chain_draw(&chain, how);
	sim_chain_put(&chain, sim);
	crash_io_init(&io, sim);
	crash_cuts_init(&cuts, &chain, sim, &io);
	cuts.resume = true;
	cuts.dir = scratch_dir();
	before = table_off(sim);
	if (how->format == IMAGE_QCOW2)
		sum->n_blocks_added -= count_blocks(sim);
	rc = crash_cuts_pull(&cuts, &io, 2 * chain.cluster_len);
	cr_assert_eq(rc, 0, "seed %" PRIu64 ": %s: %s", how->seed, chain.text, strerror(-rc));
	cr_assert_eq(cuts.n_bad, 0, "%" PRIu64 " bad states; %s: %s", cuts.n_bad, chain.text,
		     cuts.bad);
	if (how->format == IMAGE_QCOW2) {
		sum->n_blocks_added += count_blocks(sim);
		sum->n_tables_moved += table_off(sim) != before;
	}
	add(sum, &cuts);
	crash_cuts_free(&cuts);
	crash_io_free(&io);
	sim_chain_free(&chain);
	sim_free(sim);
}

static bool lacks_compressed(size_t i, const struct sum *sum)
{
	return configs[i].compression && sum->max_compressed <= 10;
}

static void cut_config(size_t i)
{
	uint64_t want = sim_pull_env("CRASH_STATES", DEFAULT_STATES) / ARRAY_LEN(configs) + 1;
	uint64_t first = sim_pull_env("CRASH_SEED", 1), seed = first;
	struct sum sum = { 0 };

	/* Some chains have nothing that compresses: few seeds may be none but those. */
	for (; (sum.n_states < want || lacks_compressed(i, &sum)) && seed < first + MAX_ROUNDS;
	     seed++) {
		struct sim_chain_how how = config(i, seed);

		cut_pull(&how, &sum);
	}
	cr_assert_geq(sum.n_states, want, "only %" PRIu64 " states", sum.n_states);
	cr_assert(!configs[i].full_block || sum.n_blocks_added);
	cr_assert(!configs[i].full_table || sum.n_tables_moved);
	cr_assert(!lacks_compressed(i, &sum));
	fprintf(stderr,
		"configuration %zu, seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " cuts, %" PRIu64
		" states judged, %" PRIu64 " pulled again, %" PRIu64
		" by qemu-img; at most %" PRIu64 " clusters leaked; %" PRIu64 " barriers, %" PRIu64
		" refcount blocks added, %" PRIu64 " tables moved\n",
		i, first, seed - 1, sum.n_cuts, sum.n_states, sum.n_resumed, sum.n_qemu,
		sum.max_leaks, sum.n_barriers, sum.n_blocks_added, sum.n_tables_moved);
}

static void cut_configs(size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		cut_config(i);
}

Test(crash, a_cut_leaves_qcow2_version_2_right)
{
	cut_configs(0, 3);
}

Test(crash, a_cut_leaves_qcow2_version_3_right)
{
	cut_configs(3, 10);
}

Test(crash, a_cut_while_a_refcount_block_is_added_does_no_harm)
{
	cut_configs(10, 14);
}

Test(crash, a_cut_while_the_refcount_table_moves_does_no_harm)
{
	cut_configs(14, 17);
}

Test(crash, a_cut_leaves_data_files_right)
{
	cut_configs(17, 19);
}

Test(crash, a_cut_between_pieces_of_a_cluster_does_no_harm)
{
	cut_configs(25, 27);
}

Test(crash, a_cut_leaves_cloned_blocks_right)
{
	cut_configs(27, 29);
}

Test(crash, a_cut_leaves_qed_right)
{
	cut_configs(29, 31);
}

/* One copy for several readers, all of whom must be able to read it. */
Test(crash, a_cut_leaves_snapshots_right)
{
	cut_configs(22, 25);
}

/* The link is led to a file further down. */
Test(crash, a_cut_leaves_one_of_two_links)
{
	cut_configs(19, 22);
}

/* Host clusters are shared by several batches: counts rise from more than 0, and the bytes beside
 * what is written are durable already. */
Test(crash, a_cut_leaves_compressed_clusters_right)
{
	cut_configs(31, ARRAY_LEN(configs));
}

/* ---- the machine stops ---- */

/* The states of a machine that stopped at its k-th operation, opening and starting included. */
static void judge_stopped(const struct sim_chain *chain, struct sim *sim, uint64_t k,
			  uint64_t *n_states)
{
	static const enum sim_cut_mode modes[] = { SIM_CUT_ALL_LOST, SIM_CUT_ALL_KEPT,
						   SIM_CUT_ONLY_LAST, SIM_CUT_RANDOM,
						   SIM_CUT_RANDOM };

	for (size_t i = 0; i < ARRAY_LEN(modes); i++, ++*n_states) {
		struct sim_cut how = { .mode = modes[i], .seed = k * 8 + i };
		struct sim *left = sim_cut(sim, &how);
		struct sim_verdict v;
		struct sim_pull pull;
		int rc;

		sim_pull_judge(chain, left, &v);
		cr_assert(v.ok, "seed %" PRIu64 ", stopped at %" PRIu64 ", mode %d: %s",
			  chain->how.seed, k, (int)how.mode, v.text);
		rc = sim_pull_whole(chain, left, SIM_PULL_MEMORY, 0, &pull);
		cr_assert_eq(rc, 0, "seed %" PRIu64 ", stopped at %" PRIu64 ", pulled again: %s",
			     chain->how.seed, k, strerror(-rc));
		sim_pull_judge(chain, left, &v);
		cr_assert(v.ok && !v.has_backing, "seed %" PRIu64 ", stopped at %" PRIu64 ": %s",
			  chain->how.seed, k, v.text);
		sim_free(left);
	}
}

/* I4: on what is sure to survive, the link is gone. */
static bool is_complete(const struct sim_chain *chain, const struct sim *sim)
{
	struct sim_cut how = { .mode = SIM_CUT_ALL_LOST };
	struct sim *left = sim_cut(sim, &how);
	struct sim_verdict v;

	sim_pull_judge(chain, left, &v);
	sim_free(left);
	return v.ok && !v.has_backing;
}

/* False: the pull was over before. */
static bool stop_pull(const struct sim_chain *chain, uint64_t k, uint64_t *n_states)
{
	struct sim *sim = sim_new(chain->how.seed);
	struct sim_pull pull;
	bool stopped;
	int rc;

	sim_chain_put(chain, sim);
	sim_stop_at(sim, k);
	rc = sim_pull_whole(chain, sim, SIM_PULL_MEMORY, 2 * chain->cluster_len, &pull);
	stopped = sim_is_stopped(sim);
	/* The audit of an image says -EIO, whatever kept it from reading. */
	cr_assert(stopped ? rc == SIM_STOPPED || rc == -EIO || (!rc && is_complete(chain, sim))
			  : !rc,
		  "stopped at %" PRIu64 ": %s", k, strerror(-rc));
	judge_stopped(chain, sim, k, n_states);
	sim_free(sim);
	return stopped;
}

/* Where everything fails from some operation on, the engine must unwind; and preparing an image
 * (unknown autoclear bits) is covered here only. */
Test(crash, a_machine_that_stops_at_any_operation_loses_nothing)
{
	const struct sim_chain_how hows[] = {
		{ .format = IMAGE_QCOW2, .version = 3, .autoclear = 1u << 9 },
		{ .format = IMAGE_QED },
		{ .format = IMAGE_QCOW2, .version = 3, .autoclear = 1u << 1, .data_file = true },
		/* The compression type changes. */
		{ .format = IMAGE_QCOW2,
		  .version = 3,
		  .refcount_bits = 8,
		  .compression = BPULL_COMPRESSION_ZSTD },
	};
	uint64_t n_states = 0;

	for (uint64_t seed = 1; seed <= EFFORT(3) * ARRAY_LEN(hows); seed++) {
		struct sim_chain_how how = hows[seed % ARRAY_LEN(hows)];
		struct sim_chain chain;
		uint64_t k = 1;

		how.cluster_bits = 12;
		how.n_clusters = 40;
		how.max_depth = 2;
		how.stretch = 2;
		how.seed = seed;
		sim_chain_draw(&chain, &how);
		while (stop_pull(&chain, k, &n_states))
			k++;
		sim_chain_free(&chain);
	}
	cr_assert_gt(n_states, EFFORT(1000));
	fprintf(stderr, "%" PRIu64 " states\n", n_states);
}
