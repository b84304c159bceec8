/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two guards stand before the header's write (I8): the commit of a job that
 * unwinds is no detaching one any more, and the job is asked once more when all
 * else is durable. Either alone keeps the link, so whole jobs (test_end_faults.c)
 * find only the loss of both; here each is asked by itself.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/commit/commit.h"
#include "engine/commit/may_drop.h"
#include "tests/machine/sim_job.h"

TestSuite(no_return, .timeout = 120);

static const struct sim_job_kind kind = {
	{ .format = IMAGE_QCOW2, .version = 3, .cluster_bits = 9, .n_clusters = 24 }, 0, true
};

static void open_at(struct sim_job *j, struct sim_chain *chain, uint64_t seed, unsigned n)
{
	*j = (struct sim_job){ .seed = seed, .chain = chain, .with_guest = true };
	snprintf(j->what, sizeof(j->what), "seed %" PRIu64 ", round %u of detaching", seed, n);
	sim_job_open(j);
	cr_assert_eq(sim_job_start(j), 0);
	cr_assert(sim_job_run_to(j, JOB_DETACHING, n), "%s: it is over", j->what);
}

/* One thing at a time speaks against it. */
Test(no_return, the_job_is_asked_for_each_reason)
{
	struct sim_chain chain;
	struct bpull_disk *disk;
	struct sim_job j;
	struct job *job;

	sim_job_draw(&chain, &kind);
	open_at(&j, &chain, 1, 0);
	disk = j.guest.disk;
	job = &disk->job;
	cr_assert_eq(may_drop_check(disk), 0);
	job->fault.error = -EIO;
	cr_assert_eq(may_drop_check(disk), -ECANCELED, "it failed");
	job->fault.error = 0;
	job->aborted = true;
	cr_assert_eq(may_drop_check(disk), -ECANCELED, "it was aborted");
	job->aborted = false;
	disk->control.want_abort = true;
	cr_assert_eq(may_drop_check(disk), -ECANCELED, "it is to be aborted");
	disk->control.want_abort = false;
	job->fault.stopped = job->paused = true;
	cr_assert_eq(may_drop_check(disk), -ECANCELED, "it is stopped");
	job->fault.stopped = job->paused = false;
	for (unsigned step = JOB_IDLE; step <= JOB_UNWINDING; step++) {
		job->step = (enum job_step)step;
		cr_assert_eq(!may_drop_check(disk), step == JOB_DETACHING, "step %u", step);
	}
	job->step = JOB_DETACHING;
	disk->n_walking++;
	cr_assert_eq(may_drop_check(disk), -ECANCELED, "a call is walking the chain");
	disk->n_walking--;
	cr_assert_eq(may_drop_check(disk), 0);
	sim_job_run(&j);
	cr_assert_eq(j.status, BPULL_JOB_COMPLETED);
	sim_job_close_judged(&j, true);
	sim_job_free(&j);
	sim_chain_free(&chain);
}

/* A commit that was to detach goes on as an ordinary one. */
static bool abort_in(struct sim_chain *chain, uint64_t seed, unsigned n)
{
	struct sim_job j;
	bool was_detaching;

	open_at(&j, chain, seed, n);
	was_detaching = commit_is_detaching(j.guest.disk) && !j.guest.disk->link.leaving &&
			!j.guest.disk->link.changed;
	if (was_detaching) {
		bpull_job_abort(j.guest.disk);
		while (sim_job_is_running(&j)) {
			sim_job_assert(&j,
				       sim_job_step(&j) != JOB_UNWINDING ||
					       !commit_is_detaching(j.guest.disk),
				       "it unwinds, and its commit detaches");
			sim_job_step_once(&j);
		}
		cr_assert_eq(j.status, BPULL_JOB_CANCELED, "%s", j.what);
		sim_job_close_judged(&j, false);
	}
	sim_job_free(&j);
	return was_detaching;
}

Test(no_return, the_commit_of_a_job_that_unwinds_keeps_the_link)
{
	struct sim_chain chain;
	unsigned n_tried = 0;

	sim_job_draw(&chain, &kind);
	for (uint64_t seed = 1; seed <= 10; seed++)
		for (unsigned n = 0; n < 4; n++)
			n_tried += abort_in(&chain, seed, n);
	cr_assert_geq(n_tried, 10, "%u", n_tried);
	sim_chain_free(&chain);
}
