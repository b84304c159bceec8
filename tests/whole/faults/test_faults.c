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
#include "tests/support/effort.h"
#include "tests/support/leaks.h"
#include "tests/support/time_limit.h"
#include "tests/whole/faults/faults.h"

#define N_CHAINS 12 /* FAULT_CHAINS=n for more, FAULT_SEED=first for others */

TIME_LIMIT(1200);
TestSuite(faults, .timeout = TIME_LIMIT_CLOCK(1200));

static bool is_transient(int error)
{
	return error == -EINTR || error == -EAGAIN;
}

/* The last of them closes the dropped layers, behind the point of no return: the pull is complete,
 * and the disk's own end closes them. */
static bool is_closing(const struct fault_trial *t)
{
	return t->fault.op == SIM_WORK && t->fault.nth == sim_n_ops(t->sim, SIM_WORK);
}

/* The code is the fault's; one that passes is tried again. */
static void judge_code(const struct fault_trial *t)
{
	int error = t->fault.error;

	if (is_transient(error))
		cr_assert_eq(t->rc, 0, "%s: not tried again: %s", t->what, strerror(-t->rc));
	else
		cr_assert(t->rc == (t->fault.op == SIM_WRITEBACK ? 0 : error) ||
				  (!t->rc && !t->fault.forever && t->n_unnoticed == 1) ||
				  (!t->rc && is_closing(t)),
			  "%s: %s", t->what, strerror(-t->rc));
}

/* False: the fault was never met. */
static bool try_fault(const struct sim_chain *chain, const struct sim_fault *fault)
{
	static const char *const ops[] = { "read",      "write", "sync", "truncate",
					   "writeback", "work",  "open" };
	struct fault_trial t = { .chain = chain, .fault = *fault, .sim = sim_new(fault->nth) };
	bool hit;

	snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ": %s number %" PRIu64 ": %s %s",
		 chain->how.seed, ops[fault->op], fault->nth, strerror(-fault->error),
		 fault->forever ? "for ever" : "once");
	sim_chain_put(chain, t.sim);
	sim_fail(t.sim, fault);
	fault_trial_pull(&t);
	hit = sim_n_faults_hit(t.sim);
	if (hit)
		judge_code(&t);
	else
		cr_assert_eq(t.rc, 0, "%s: without a fault: %s", t.what, strerror(-t.rc));
	fault_trial_judge(&t);
	sim_free(t.sim);
	return hit;
}

static void try_all(enum sim_op op, int error, uint64_t min_runs)
{
	uint64_t n_chains = sim_pull_env("FAULT_CHAINS", MAX(EFFORT(N_CHAINS), FAULT_CHAINS));
	uint64_t first = sim_pull_env("FAULT_SEED", 0), n_runs = 0;

	for (uint64_t i = 0; i < n_chains; i++) {
		struct sim_chain_how how = fault_chains[i % FAULT_CHAINS];
		struct sim_chain chain;

		how.seed += first + i;
		sim_chain_draw(&chain, &how);
		for (int forever = 0; forever < 2; forever++) {
			struct sim_fault fault = { .op = op, .error = error, .forever = forever };

			for (fault.nth = EFFORT_FIRST(i + forever); fault.nth < FAULT_MAX_NTH;
			     fault.nth += EFFORT_STEP, n_runs++)
				if (!try_fault(&chain, &fault))
					break;
			cr_assert_lt(fault.nth, FAULT_MAX_NTH);
		}
		sim_chain_free(&chain);
		leaks_assert_none("a failing call");
	}
	cr_assert_geq(n_runs, EFFORT(min_runs * n_chains / N_CHAINS / 2), "only %" PRIu64 " runs",
		      n_runs);
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
	for (size_t i = 0; i < FAULT_CHAINS; i++) {
		struct sim_chain chain;
		uint64_t at;
		int rc = -1;

		sim_chain_draw(&chain, &fault_chains[i]);
		for (at = chain.files[0].file_len; rc;
		     at += EFFORT_STEP * MAX(chain.cluster_len / 4, 512u)) {
			struct sim_fault fault = { .op = SIM_WRITE, .error = -ENOSPC, .nth = 1 };
			struct fault_trial t = { .chain = &chain,
						 .fault = fault,
						 .sim = sim_new(at) };

			snprintf(t.what, sizeof(t.what), "chain %" PRIu64 ", full at %" PRIu64,
				 chain.how.seed, at);
			sim_chain_put(&chain, t.sim);
			sim_file_limit(t.sim, SIM_CHAIN_TOP, at);
			fault_trial_pull(&t);
			rc = t.rc;
			cr_assert(rc == 0 || rc == -ENOSPC, "%s: %s", t.what, strerror(-rc));
			sim_file_limit(t.sim, SIM_CHAIN_TOP, 0);
			fault_trial_judge(&t);
			sim_free(t.sim);
		}
		sim_chain_free(&chain);
	}
}

/* Transfers of any length, interruptions all the time. */
Test(faults, short_transfers_do_not_change_the_result)
{
	for (uint64_t seed = 1; seed <= EFFORT(20); seed++)
		for (size_t i = 0; i < FAULT_CHAINS; i++) {
			struct fault_trial t = { .sim = sim_new(seed) };
			struct sim_chain chain;

			snprintf(t.what, sizeof(t.what), "short, seed %" PRIu64 ", chain %zu", seed,
				 i + 1);
			sim_chain_draw(&chain, &fault_chains[i]);
			sim_chain_put(&chain, t.sim);
			sim_knobs(t.sim)->short_permille = 900;
			sim_knobs(t.sim)->retry_permille = 300;
			t.chain = &chain;
			fault_trial_pull(&t);
			cr_assert_eq(t.rc, 0, "%s: %s", t.what, strerror(-t.rc));
			fault_trial_judge(&t);
			sim_chain_free(&chain);
			sim_free(t.sim);
		}
}
