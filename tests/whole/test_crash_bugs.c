/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Planted bugs: each invariant of engine/commit/commit.c is broken from outside, by a
 * backend that lies (crash_io.h), and the search of test_crash.c must find it.
 * A search that never saw a bug proves nothing.
 *
 * Not every barrier of every pull matters: what it covers may be durable by
 * chance. Where nothing on which later writes rest had come to an end since the
 * one before it, a lie about it is harmless and need not be found.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/whole/crash_cuts.h"

struct bug {
	uint64_t n_states; /* until a bad one was found; 0: none was */
	bool lied;
	/* There was nothing to make durable on which later writes rest. */
	bool harmless;
	char what[1200];
};

static struct bug find_bug(const struct sim_chain_how *how, enum crash_lie lie, uint64_t nth)
{
	struct sim *sim = sim_new(how->seed);
	struct crash_cuts cuts;
	struct sim_chain chain;
	struct crash_io io;
	struct bug bug;

	sim_chain_draw(&chain, how);
	sim_chain_put(&chain, sim);
	crash_io_init(&io, sim);
	io.lie = lie;
	io.nth = nth;
	/* On many of the image's own nothing rests then: no refcounts, and few new tables. */
	io.sync_of = how->data_file ? chain.data.name : NULL;
	crash_cuts_init(&cuts, &chain, sim, &io);
	cuts.stop_at_bad = true;
	crash_cuts_pull(&cuts, &io, 2 * chain.cluster_len);
	bug = (struct bug){
		.n_states = cuts.n_bad ? cuts.n_states : 0,
		.lied = io.n_lies,
		/* On the image's last two rest the header and the event. */
		.harmless = nth && !io.n_ended_at_lie && (io.sync_of || nth + 1 < io.n_syncs),
	};
	memcpy(bug.what, cuts.bad, sizeof(bug.what));
	crash_cuts_free(&cuts);
	crash_io_free(&io);
	sim_chain_free(&chain);
	sim_free(sim);
	return bug;
}

static struct sim_chain_how bug_config(bool qed, uint64_t seed)
{
	struct sim_chain_how how = {
		.seed = seed,
		.format = qed ? IMAGE_QED : IMAGE_QCOW2,
		.version = 3,
		.cluster_bits = qed ? 12 : 9,
		.refcount_bits = qed ? 0 : 16,
		.n_clusters = 250,
		.max_depth = 1,
		.stretch = 2,
		.full_block = true,
	};

	return how;
}

/* A lie told all the time is found in every pull. */
static void find_in_every_pull(enum crash_lie lie, bool qed)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct sim_chain_how how = bug_config(qed, seed);
		struct bug bug = find_bug(&how, lie, 0);

		cr_assert(bug.lied, "seed %" PRIu64 ": no lie", seed);
		cr_assert(bug.n_states, "seed %" PRIu64 ": not found", seed);
		fprintf(stderr, "found after %" PRIu64 " states: %s\n", bug.n_states, bug.what);
	}
}

/* Compressed clusters: host clusters' counts rise from what is durable, not from zero. */
static void find_compressed(enum crash_lie lie)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct sim_chain_how how = bug_config(false, seed);
		struct bug bug;

		how.cluster_bits = 12;
		how.n_clusters = 150;
		how.compression = BPULL_COMPRESSION_OWN;
		bug = find_bug(&how, lie, 0);
		cr_assert(bug.lied && bug.n_states, "seed %" PRIu64 ": not found", seed);
		fprintf(stderr, "found after %" PRIu64 " states: %s\n", bug.n_states, bug.what);
	}
}

Test(crash_bugs, an_early_compressed_entry_is_found) /* I1, I2 */
{
	find_compressed(CRASH_EARLY_DATA);
	find_compressed(CRASH_LATE_REFCOUNT);
}

/* One barrier of a pull is not what it seems: each that matters is found. */
static void find_every_barrier(enum crash_lie lie, bool qed, bool full_table, bool data_file)
{
	uint64_t n_found = 0, n_states = 0, n_harmless = 0;

	for (uint64_t seed = 1; seed <= (data_file ? 4 : 2); seed++) {
		struct sim_chain_how how = bug_config(qed, seed);
		struct bug bug = { .lied = true };

		how.full_table = full_table;
		how.data_file = data_file;
		for (uint64_t nth = 1; bug.lied; nth++) {
			bug = find_bug(&how, lie, nth);
			cr_expect(bug.n_states || bug.harmless || !bug.lied,
				  "seed %" PRIu64 ", barrier %" PRIu64 ": not found", seed, nth);
			n_harmless += bug.lied && !bug.n_states;
			n_found += bug.n_states != 0;
			n_states += bug.n_states;
		}
	}
	cr_assert_gt(n_found, 10, "hardly a barrier");
	fprintf(stderr,
		"%" PRIu64 " bugs found after %" PRIu64 " states each, %" PRIu64 " harmless\n",
		n_found, n_states / n_found, n_harmless);
}

Test(crash_bugs, a_dropped_barrier_is_found) /* I1, I2, I3; the last one: I4 */
{
	find_every_barrier(CRASH_DROP_SYNC, false, false, false);
}

Test(crash_bugs, a_dropped_barrier_is_found_while_the_refcount_table_moves)
{
	find_every_barrier(CRASH_DROP_SYNC, false, true, false);
}

Test(crash_bugs, a_dropped_barrier_of_a_data_file_is_found) /* I1 */
{
	find_every_barrier(CRASH_DROP_SYNC, false, false, true);
}

Test(crash_bugs, a_dropped_barrier_is_found_in_qed)
{
	find_every_barrier(CRASH_DROP_SYNC, true, false, false);
}

Test(crash_bugs, a_barrier_made_again_after_it_failed_is_found) /* I7 */
{
	find_every_barrier(CRASH_RETRY_SYNC, false, false, false);
	find_every_barrier(CRASH_RETRY_SYNC, true, false, false);
}

Test(crash_bugs, an_entry_before_its_data_is_found) /* I1 */
{
	find_in_every_pull(CRASH_EARLY_DATA, false);
	find_in_every_pull(CRASH_EARLY_DATA, true);
}

Test(crash_bugs, an_entry_before_its_refcount_is_found) /* I2 */
{
	find_in_every_pull(CRASH_LATE_REFCOUNT, false);
}

Test(crash_bugs, an_entry_of_the_next_batch_is_found) /* I6 */
{
	find_in_every_pull(CRASH_NEWER_TABLES, false);
	find_in_every_pull(CRASH_NEWER_TABLES, true);
}
