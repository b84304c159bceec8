/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every call that can fail, failing: the n-th of its kind for every n, until a
 * pull meets no failure any more, once and for ever. Each time: the pull ends,
 * says why, and leaves an image that opens, checks and reads as before, that a
 * power cut on top of it does not harm either, and that a second pull brings
 * to its end.
 *
 * Faults on a real file system (LD_PRELOAD, dm-flakey) were rejected: neither
 * can fail the n-th completion of a ring.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/support/leaks.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"

#define N_CHAINS 12    /* FAULT_CHAINS=n for more */
#define MAX_NTH  20000 /* more calls than any pull here makes */

TIME_LIMIT(1200);
TestSuite(faults, .timeout = TIME_LIMIT_CLOCK(1200));

static const struct sim_chain_how chains[] = {
	{ .seed = 1,
	  .format = IMAGE_QCOW2,
	  .version = 2,
	  .cluster_bits = 10,
	  .n_clusters = 200,
	  .max_depth = 2,
	  .stretch = 2,
	  .full_block = true },
	{ .seed = 2,
	  .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 12,
	  .n_clusters = 90,
	  .max_depth = 2,
	  .stretch = 2,
	  .autoclear = 1u << 7 },
	{ .seed = 3,
	  .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 9,
	  .refcount_bits = 64,
	  .n_clusters = 200,
	  .max_depth = 1,
	  .stretch = 2,
	  .full_table = true },
	{ .seed = 4,
	  .format = IMAGE_QED,
	  .cluster_bits = 12,
	  .n_clusters = 90,
	  .max_depth = 2,
	  .stretch = 2 },
	{ .seed = 5,
	  .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 16,
	  .n_clusters = 20,
	  .max_depth = 3,
	  .stretch = 2 },
	{ .seed = 6,
	  .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 12,
	  .refcount_bits = 2,
	  .n_clusters = 90,
	  .max_depth = 2,
	  .stretch = 2,
	  .compression = BPULL_COMPRESSION_ZSTD },
	{ .seed = 8,
	  .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 14,
	  .refcount_bits = 16,
	  .n_clusters = 40,
	  .max_depth = 2,
	  .stretch = 2,
	  .piece_len = 4096 },
	{ .seed = 9,
	  .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 12,
	  .refcount_bits = 16,
	  .n_clusters = 60,
	  .max_depth = 2,
	  .stretch = 2,
	  .clone = SIM_CLONE_WORKS },
};

struct trial {
	const struct sim_chain *chain;
	struct sim *sim;
	struct sim_fault fault;
	struct sim_pull pull;
	int rc;               /* of opening, starting, or the job */
	uint64_t n_unnoticed; /* reads of tables that nobody waited for: they are read again */
	char what[200];
};

/* Whether the link is gone after a failure at the very end nobody can say; after success it is. */
static void judge(const struct trial *t, struct sim *sim, const char *when, bool link_gone)
{
	struct sim_verdict v;

	sim_pull_judge(t->chain, sim, &v);
	cr_assert(v.ok, "%s, %s: %s", t->what, when, v.text);
	cr_assert(!v.has_backing || !link_gone, "%s, %s: the link is there", t->what, when);
}

static void judge_cut(const struct trial *t, enum sim_cut_mode mode, uint64_t seed)
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
static void judge_poisoned(struct trial *t)
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

static void pull_with_fault(struct trial *t)
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

static bool is_passing(int error)
{
	return error == -EINTR || error == -EAGAIN;
}

/* The code is the fault's; one that passes is tried again. */
static void judge_code(const struct trial *t)
{
	int error = t->fault.error;

	if (is_passing(error))
		cr_assert_eq(t->rc, 0, "%s: not tried again: %s", t->what, strerror(-t->rc));
	else
		cr_assert(t->rc == (t->fault.op == SIM_WRITEBACK ? 0 : error) ||
				  (!t->rc && !t->fault.forever && t->n_unnoticed == 1),
			  "%s: %s", t->what, strerror(-t->rc));
}

static void judge_after(struct trial *t)
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

/* False: the fault was never met. */
static bool try_fault(const struct sim_chain *chain, const struct sim_fault *fault)
{
	static const char *const ops[] = { "read",      "write", "sync", "truncate",
					   "writeback", "work",  "open" };
	struct trial t = { .chain = chain, .fault = *fault, .sim = sim_new(fault->nth) };
	bool hit;

	snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ": %s number %" PRIu64 ": %s %s",
		 chain->how.seed, ops[fault->op], fault->nth, strerror(-fault->error),
		 fault->forever ? "for ever" : "once");
	sim_chain_put(chain, t.sim);
	sim_fail(t.sim, fault);
	pull_with_fault(&t);
	hit = sim_n_faults_hit(t.sim);
	if (hit)
		judge_code(&t);
	else
		cr_assert_eq(t.rc, 0, "%s: without a fault: %s", t.what, strerror(-t.rc));
	judge_after(&t);
	sim_free(t.sim);
	return hit;
}

static void try_all(enum sim_op op, int error, uint64_t min_runs)
{
	uint64_t n_runs = 0;

	uint64_t n_chains = sim_pull_env("FAULT_CHAINS", N_CHAINS / SIM_PULL_SLOWDOWN);

	for (uint64_t i = 0; i < n_chains; i++) {
		struct sim_chain_how how = chains[i % ARRAY_LEN(chains)];
		struct sim_chain chain;

		how.seed += i;
		sim_chain_draw(&chain, &how);
		for (int forever = 0; forever < 2; forever++) {
			struct sim_fault fault = { .op = op, .error = error, .forever = forever };

			for (fault.nth = 1; fault.nth < MAX_NTH; fault.nth++, n_runs++)
				if (!try_fault(&chain, &fault))
					break;
			cr_assert_lt(fault.nth, MAX_NTH);
		}
		sim_chain_free(&chain);
		leaks_assert_none("a failing call");
	}
	cr_assert_geq(n_runs, min_runs * n_chains / N_CHAINS / 2, "only %" PRIu64 " runs", n_runs);
	fprintf(stderr, "operation %d, %s: %" PRIu64 " runs\n", (int)op, strerror(-error), n_runs);
}

Test(faults, a_failed_read_ends_the_pull_and_says_where)
{
	try_all(SIM_READ, -EIO, 2000);
}

Test(faults, a_failed_write_ends_the_pull_and_keeps_the_image)
{
	try_all(SIM_WRITE, -EIO, 600);
}

Test(faults, a_write_without_space_ends_the_pull_with_enospc)
{
	try_all(SIM_WRITE, -ENOSPC, 600);
}

Test(faults, a_failed_barrier_ends_all_writing)
{
	try_all(SIM_SYNC, -EIO, 200);
}

Test(faults, a_barrier_without_space_ends_all_writing)
{
	try_all(SIM_SYNC, -ENOSPC, 200);
}

Test(faults, a_failed_decode_ends_the_pull)
{
	try_all(SIM_WORK, -EIO, 40);
}

Test(faults, a_failed_open_is_reported)
{
	try_all(SIM_OPEN, -EMFILE, 60);
}

Test(faults, interrupted_calls_are_repeated)
{
	try_all(SIM_READ, -EINTR, 2000);
	try_all(SIM_WRITE, -EINTR, 600);
	try_all(SIM_SYNC, -EINTR, 200);
}

Test(faults, calls_that_say_eagain_are_repeated)
{
	try_all(SIM_READ, -EAGAIN, 2000);
	try_all(SIM_WRITE, -EAGAIN, 600);
}

/* The host's disk is full from some length on; with room, a second pull goes on. */
Test(faults, a_full_disk_ends_the_pull_until_there_is_room)
{
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		struct sim_chain chain;
		uint64_t at;
		int rc = -1;

		sim_chain_draw(&chain, &chains[i]);
		for (at = chain.files[0].file_len; rc; at += MAX(chain.cluster_len / 4, 512u)) {
			struct sim_fault fault = { .op = SIM_WRITE, .error = -ENOSPC, .nth = 1 };
			struct trial t = { .chain = &chain, .fault = fault, .sim = sim_new(at) };

			snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ", full at %" PRIu64,
				 chain.how.seed, at);
			sim_chain_put(&chain, t.sim);
			sim_file_limit(t.sim, SIM_CHAIN_TOP, at);
			pull_with_fault(&t);
			rc = t.rc;
			cr_assert(rc == 0 || rc == -ENOSPC, "%s: %s", t.what, strerror(-rc));
			sim_file_limit(t.sim, SIM_CHAIN_TOP, 0);
			judge_after(&t);
			sim_free(t.sim);
		}
		sim_chain_free(&chain);
	}
}

/* A job that stops at errors: what it can't go on from fails as ever, and everything else ends well
 * once the machine works again. */
static bool try_stop(const struct sim_chain *chain, const struct sim_fault *fault)
{
	struct trial t = { .chain = chain, .fault = *fault, .sim = sim_new(fault->nth) };
	bool hit;

	snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ": stop at operation %d number %" PRIu64,
		 chain->how.seed, (int)fault->op, fault->nth);
	sim_chain_put(chain, t.sim);
	t.rc = sim_pull_open(&t.pull, chain, t.sim, NULL, SIM_PULL_MEMORY, 4 * chain->cluster_len);
	cr_assert_eq(t.rc, 0);
	t.pull.on_error = BPULL_ON_ERROR_STOP;
	sim_fail(t.sim, fault);
	t.rc = sim_pull_run(&t.pull);
	hit = sim_n_faults_hit(t.sim) || t.pull.n_stops;
	if (t.rc) { /* the start met it: not the job's */
		cr_assert_eq(t.rc, fault->error, "%s: %s", t.what, strerror(-t.rc));
	} else if (t.pull.disk->poisoned) {
		cr_assert_eq(t.pull.status, BPULL_JOB_FAILED, "%s", t.what);
		t.rc = t.pull.event_error;
	} else {
		cr_assert_eq(t.pull.status, BPULL_JOB_COMPLETED, "%s: %s", t.what, t.pull.message);
		cr_assert(!hit || t.pull.n_stops, "%s: it did not stop", t.what);
		cr_assert(!t.pull.n_stops || t.pull.stop_is_told, "%s: nobody is told", t.what);
	}
	sim_pull_close(&t.pull);
	judge_after(&t);
	sim_free(t.sim);
	return hit;
}

static void stop_at_all(enum sim_op op, int error)
{
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		struct sim_fault fault = { .op = op, .error = error, .forever = true };
		struct sim_chain chain;

		sim_chain_draw(&chain, &chains[i]);
		for (fault.nth = 1; fault.nth < MAX_NTH; fault.nth++)
			if (!try_stop(&chain, &fault))
				break;
		cr_assert_lt(fault.nth, MAX_NTH);
		cr_assert_gt(fault.nth, 3);
		sim_chain_free(&chain);
	}
}

Test(faults, a_job_stopped_at_a_failed_read_goes_on)
{
	stop_at_all(SIM_READ, -EIO);
}

Test(faults, a_job_stopped_for_want_of_space_goes_on)
{
	stop_at_all(SIM_WRITE, -ENOSPC);
}

Test(faults, a_job_stopped_at_a_failed_write_goes_on)
{
	stop_at_all(SIM_WRITE, -EIO);
}

Test(faults, a_failed_barrier_fails_a_job_that_would_stop)
{
	stop_at_all(SIM_SYNC, -EIO);
}

/* Transfers of any length, interruptions all the time. */
Test(faults, short_transfers_do_not_change_the_result)
{
	for (uint64_t seed = 1; seed <= 20; seed++)
		for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
			struct trial t = { .sim = sim_new(seed) };
			struct sim_chain chain;

			snprintf(t.what, sizeof(t.what), "short, seed %" PRIu64 ", chain %zu", seed,
				 i + 1);
			sim_chain_draw(&chain, &chains[i]);
			sim_chain_put(&chain, t.sim);
			sim_knobs(t.sim)->short_permille = 900;
			sim_knobs(t.sim)->retry_permille = 300;
			t.chain = &chain;
			pull_with_fault(&t);
			cr_assert_eq(t.rc, 0, "%s: %s", t.what, strerror(-t.rc));
			judge_after(&t);
			sim_chain_free(&chain);
			sim_free(t.sim);
		}
}

/* What a job that ignores errors did, summed up over all faults. */
struct ignoring {
	uint64_t n_left_out, n_in_tables, n_rest_copied;
};

static uint64_t owed(const struct trial *t)
{
	struct sim_verdict v;

	sim_pull_judge(t->chain, t->sim, &v);
	cr_assert(v.ok, "%s: %s", t->what, v.text);
	return v.n_owed;
}

/* Data that can't be read stays owed, the rest is copied, and the job says so; a table, or a
 * header, that can't be read ends it as ever. */
static void judge_ignored(const struct trial *t, struct ignoring *sum, uint64_t owed_before)
{
	uint64_t left = owed(t);

	cr_assert_eq(t->pull.status, BPULL_JOB_FAILED, "%s: it did not fail", t->what);
	cr_assert_eq(t->pull.event_error, t->fault.error, "%s: %s", t->what, t->pull.message);
	cr_assert(!t->pull.ignored_is_untold, "%s: left out without a word", t->what);
	if (!t->pull.n_ignored) {
		sum->n_in_tables++;
		return;
	}
	/* Where all reads fail, that of a table may come after those that were left out. */
	cr_assert(t->fault.forever || strstr(t->pull.message, "left out"), "%s: %s", t->what,
		  t->pull.message);
	cr_assert(left && left <= owed_before, "%s: %" PRIu64 " bytes are owed", t->what, left);
	sum->n_left_out++;
	sum->n_rest_copied += left < owed_before;
}

static bool try_ignore(const struct sim_chain *chain, const struct sim_fault *fault,
		       struct ignoring *sum)
{
	struct trial t = { .chain = chain, .fault = *fault, .sim = sim_new(fault->nth) };
	uint64_t owed_before, n_unnoticed;
	bool hit;

	snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ": ignored: read number %" PRIu64 "%s",
		 chain->how.seed, fault->nth, fault->forever ? " and all after it" : "");
	sim_chain_put(chain, t.sim);
	owed_before = owed(&t);
	t.rc = sim_pull_open(&t.pull, chain, t.sim, NULL, SIM_PULL_MEMORY, 4 * chain->cluster_len);
	cr_assert_eq(t.rc, 0);
	t.pull.on_error = BPULL_ON_ERROR_IGNORE;
	sim_fail(t.sim, fault);
	t.rc = sim_pull_run(&t.pull);
	hit = sim_n_faults_hit(t.sim);
	n_unnoticed = t.pull.engine->n_ahead_failed;
	cr_assert(!t.pull.disk->poisoned, "%s", t.what);
	sim_pull_close(&t.pull);
	sim_clear_faults(t.sim);
	cr_assert(!t.rc || t.rc == fault->error, "%s: %s", t.what, strerror(-t.rc));
	if (!t.rc && t.pull.status == BPULL_JOB_COMPLETED)
		cr_assert(!hit || n_unnoticed, "%s: it is not told of", t.what);
	else if (!t.rc)
		judge_ignored(&t, sum, owed_before);
	t.rc = t.rc ? t.rc : t.pull.event_error;
	judge_after(&t);
	sim_free(t.sim);
	return hit;
}

Test(faults, ignored_reads_stay_owed_and_are_counted)
{
	struct ignoring sum = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(chains); i++)
		for (int forever = 0; forever < 2; forever++) {
			struct sim_fault fault = { .op = SIM_READ,
						   .error = -EIO,
						   .forever = forever };
			struct sim_chain chain;

			sim_chain_draw(&chain, &chains[i]);
			for (fault.nth = 1; fault.nth < MAX_NTH; fault.nth++)
				if (!try_ignore(&chain, &fault, &sum))
					break;
			cr_assert_lt(fault.nth, MAX_NTH);
			sim_chain_free(&chain);
		}
	fprintf(stderr,
		"left out %" PRIu64 ", in tables %" PRIu64 ", the rest copied %" PRIu64 "\n",
		sum.n_left_out, sum.n_in_tables, sum.n_rest_copied);
	cr_assert(sum.n_left_out > 50 && sum.n_in_tables > 50 && sum.n_rest_copied > 20);
}
