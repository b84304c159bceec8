/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs that stop at errors or ignore them: the n-th call fails for every n. A
 * stopped job goes on once the machine works; what an ignored read left out stays
 * owed, and the job says so.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/support/effort.h"
#include "tests/whole/faults/faults.h"

/* A job that stops at errors: what it can't go on from fails as ever, and everything else ends well
 * once the machine works again. */
static bool try_stop(const struct sim_chain *chain, const struct sim_fault *fault)
{
	struct fault_trial t = { .chain = chain, .fault = *fault, .sim = sim_new(fault->nth) };
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
		/* What had failed by then is tried again, and is no other failure. */
		cr_assert_leq(t.pull.n_stops, 1, "%s: %u stops", t.what, t.pull.n_stops);
		cr_assert(!t.pull.n_stops || t.pull.stop_is_told, "%s: the stop is not reported",
			  t.what);
	}
	sim_pull_close(&t.pull);
	fault_trial_judge(&t);
	sim_free(t.sim);
	return hit;
}

static void stop_at_all(enum sim_op op, int error)
{
	for (size_t i = 0; i < FAULT_CHAINS; i++) {
		struct sim_fault fault = { .op = op, .error = error, .forever = true };
		struct sim_chain chain;

		sim_chain_draw(&chain, &fault_chains[i]);
		for (fault.nth = EFFORT_FIRST(i); fault.nth < FAULT_MAX_NTH;
		     fault.nth += EFFORT_STEP)
			if (!try_stop(&chain, &fault))
				break;
		cr_assert_lt(fault.nth, FAULT_MAX_NTH);
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

/* The same of a job that stops for want of space only: true, the fault was hit. */
static bool try_enospc(const struct sim_chain *chain, const struct sim_fault *fault, bool stops)
{
	struct fault_trial t = { .chain = chain, .fault = *fault, .sim = sim_new(fault->nth) };
	bool hit;

	snprintf(t.what, sizeof(t.what), "write number %" PRIu64 ": %s", fault->nth,
		 strerror(-fault->error));
	sim_chain_put(chain, t.sim);
	t.rc = sim_pull_open(&t.pull, chain, t.sim, NULL, SIM_PULL_MEMORY, 4 * chain->cluster_len);
	cr_assert_eq(t.rc, 0);
	t.pull.on_error = BPULL_ON_ERROR_ENOSPC;
	sim_fail(t.sim, fault);
	t.rc = sim_pull_run(&t.pull);
	hit = sim_n_faults_hit(t.sim) || t.pull.n_stops;
	if (!t.rc && hit && !t.pull.disk->poisoned) {
		cr_assert_eq(t.pull.status, stops ? BPULL_JOB_COMPLETED : BPULL_JOB_FAILED,
			     "%s: %s", t.what, t.pull.message);
		cr_assert_eq(t.pull.n_stops > 0, stops, "%s: %u stops", t.what, t.pull.n_stops);
		if (!stops)
			cr_assert_eq(t.pull.event_error, fault->error, "%s", t.what);
	}
	/* A file that can't grow is no write gone wrong. */
	if (fault->error != -EIO)
		cr_assert_not(t.pull.disk->poisoned, "%s", t.what);
	sim_pull_close(&t.pull);
	sim_free(t.sim);
	return hit;
}

Test(faults, a_job_that_stops_for_space_stops_for_nothing_else)
{
	static const struct {
		int error;
		bool stops;
	} cases[] = { { -ENOSPC, true }, { -EDQUOT, true }, { -EFBIG, false }, { -EIO, false } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sim_fault fault = { .op = SIM_WRITE,
					   .error = cases[i].error,
					   .forever = true };
		struct sim_chain chain;

		sim_chain_draw(&chain, &fault_chains[0]);
		for (fault.nth = 1; try_enospc(&chain, &fault, cases[i].stops); fault.nth++)
			cr_assert_lt(fault.nth, FAULT_MAX_NTH);
		cr_assert_gt(fault.nth, 4);
		sim_chain_free(&chain);
	}
}

/* What a job that ignores errors did, summed up over all faults. */
struct ignoring {
	uint64_t n_left_out, n_in_tables, n_rest_copied;
};

static uint64_t owed(const struct fault_trial *t)
{
	struct sim_verdict v;

	sim_pull_judge(t->chain, t->sim, &v);
	cr_assert(v.ok, "%s: %s", t->what, v.text);
	return v.n_owed;
}

/* Data that can't be read stays owed, the rest is copied, and the job says so; a table, or a
 * header, that can't be read ends it as ever. */
static void judge_ignored(const struct fault_trial *t, struct ignoring *sum, uint64_t owed_before)
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
	struct fault_trial t = { .chain = chain, .fault = *fault, .sim = sim_new(fault->nth) };
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
	fault_trial_judge(&t);
	sim_free(t.sim);
	return hit;
}

Test(faults, ignored_reads_stay_owed_and_are_counted)
{
	struct ignoring sum = { 0 };

	for (size_t i = 0; i < FAULT_CHAINS; i++)
		for (int forever = 0; forever < 2; forever++) {
			struct sim_fault fault = { .op = SIM_READ,
						   .error = -EIO,
						   .forever = forever };
			struct sim_chain chain;

			sim_chain_draw(&chain, &fault_chains[i]);
			for (fault.nth = EFFORT_FIRST(i + forever); fault.nth < FAULT_MAX_NTH;
			     fault.nth += EFFORT_STEP)
				if (!try_ignore(&chain, &fault, &sum))
					break;
			cr_assert_lt(fault.nth, FAULT_MAX_NTH);
			sim_chain_free(&chain);
		}
	fprintf(stderr,
		"left out %" PRIu64 ", in tables %" PRIu64 ", the rest copied %" PRIu64 "\n",
		sum.n_left_out, sum.n_in_tables, sum.n_rest_copied);
	cr_assert(sum.n_left_out > EFFORT(50) && sum.n_in_tables > EFFORT(50) &&
		  sum.n_rest_copied > EFFORT(20));
}
