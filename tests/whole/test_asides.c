/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job does aside (engine/core/aside.h), while it is on its way: a step
 * that fails in it, and what the guest asks for beside it. Whole plays rarely
 * come to these moments, so each is sought here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/core/aside.h"
#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "io/base.h"
#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_job.h"

TestSuite(asides, .timeout = 120);

#define HOUR_NS UINT64_C(3600000000000)

static void open_job(struct sim_job *j, struct sim_chain *chain, const struct sim_job_kind *kind,
		     uint64_t seed)
{
	*j = (struct sim_job){ .seed = seed, .chain = chain, .with_guest = kind->with_guest };
	snprintf(j->what, sizeof(j->what), "seed %" PRIu64, seed);
	sim_job_open(j);
	cr_assert_eq(sim_job_start(j), 0);
}

static bool runs(const struct sim_job *j, const char *name)
{
	const struct aside *aside = &j->guest.disk->aside;

	return aside->runs && !strcmp(aside->kind->name, name);
}

/* Until that is on its way. False: the job ended first. */
static bool run_to_aside(struct sim_job *j, const char *name)
{
	while (sim_job_is_running(j)) {
		if (runs(j, name))
			return true;
		sim_job_step_once(j);
	}
	return false;
}

static void fail_all(struct sim_job *j, enum sim_op op)
{
	sim_clear_faults(j->sim);
	sim_fail(j->sim, &(struct sim_fault){ .op = op, .nth = 1, .error = -EIO, .forever = true });
}

/* ---- unused clusters ---- */

/* Entries on disk name one of two places then, and those in memory may name the other. */
Test(asides, a_reclaim_that_fails_ends_all_writing)
{
	static const struct sim_job_kind kind = { { SIM_SMALL_QED, SIM_SIZE(60, 0) }, 0, false };
	unsigned n_failed = 0;
	struct sim_chain chain;

	sim_job_draw(&chain, &kind);
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct sim_job j;

		open_job(&j, &chain, &kind, seed);
		/* What a run that fails had taken is a gap. */
		sim_fail(j.sim, &(struct sim_fault){
					.op = SIM_WRITE, .nth = seed % 8 + 1, .error = -EIO });
		if (run_to_aside(&j, "reclaim")) {
			n_failed++;
			cr_assert(j.guest.disk->exclusive, "%s: a walk may begin", j.what);
			fail_all(&j, SIM_READ);
			sim_job_run(&j);
			cr_assert_eq(j.status, BPULL_JOB_FAILED, "%s", j.what);
			sim_job_mend(&j);
			cr_assert_eq(sim_job_start(&j), -EIO, "%s: the next job begins", j.what);
		} else {
			sim_job_mend(&j);
		}
		sim_job_close(&j);
		sim_job_free(&j);
	}
	cr_assert_geq(n_failed, 3, "%u of 40", n_failed);
	sim_chain_free(&chain);
}

/* ---- tables read again ---- */

/* Memory that no read has filled is not taken for a table. */
Test(asides, tables_that_could_not_be_read_again_stay)
{
	static const struct sim_job_kind kind = { { SIM_SNAPSHOTS(2), SIM_SIZE(24, 0) }, 0, false };
	struct sim_chain chain;

	sim_job_draw(&chain, &kind);
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct qcow2_view *views;
		uint8_t *before[2];
		struct sim_job j;

		open_job(&j, &chain, &kind, seed);
		cr_assert(run_to_aside(&j, "reread"), "%s", j.what);
		views = qcow2_of(disk_overlay(j.guest.disk))->snapshots->snapshots;
		for (unsigned i = 0; i < 2; i++) {
			before[i] = malloc(views[i].n_l1 * sizeof(uint64_t));
			memcpy(before[i], views[i].l1, views[i].n_l1 * sizeof(uint64_t));
		}
		fail_all(&j, SIM_READ);
		sim_job_run(&j);
		cr_assert_eq(j.status, BPULL_JOB_FAILED, "%s", j.what);
		for (unsigned i = 0; i < 2; i++) {
			cr_assert_arr_eq(views[i].l1, before[i], views[i].n_l1 * sizeof(uint64_t),
					 "%s: of snapshot %u", j.what, i);
			free(before[i]);
		}
		sim_job_mend(&j);
		cr_assert_eq(sim_job_start(&j), 0);
		sim_job_run(&j);
		cr_assert_eq(j.status, BPULL_JOB_COMPLETED, "%s: %s", j.what, j.message);
		sim_job_close_judged(&j, true);
		sim_job_free(&j);
	}
	sim_chain_free(&chain);
}

/* ---- the mark ---- */

static const struct sim_job_kind guest_kind = { { SIM_SMALL_CLUSTERS, SIM_SIZE(24, 0) }, 0, true };

/* Another program writes to the lowest file, what is there already: only its time tells. */
static void touch_base(struct sim_job *j)
{
	const char *name = j->chain->files[j->chain->n_files - 1].name;
	uint8_t first;

	sim_file_peek(j->sim, name, &first, 1, 0);
	sim_file_overwrite(j->sim, name, &first, 1, 0);
}

/* True: the mark is on its way, and a commit has stalled. */
static bool run_to_mark_over_stall(struct sim_job *j)
{
	while (sim_job_is_running(j) && sim_job_step(j) == JOB_COPYING &&
	       !j->guest.disk->since_opened.has_copied)
		sim_job_step_once(j);
	while (sim_job_is_running(j) && !commit_is_running(j->guest.disk))
		sim_job_step_once(j);
	j->may_fail = true;
	sim_fail(j->sim, &(struct sim_fault){
				 .op = SIM_WRITE, .nth = 1, .error = -ENOSPC, .forever = true });
	touch_base(j);
	return run_to_aside(j, "mark") && commit_is_stalled(j->guest.disk);
}

/* Only the header is written then: a flush does not try the commit again beside it. */
Test(asides, a_flush_beside_the_mark_leaves_a_stalled_commit)
{
	unsigned n_tried = 0;
	struct sim_chain chain;

	sim_job_draw(&chain, &guest_kind);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_job j;

		open_job(&j, &chain, &guest_kind, seed);
		if (run_to_mark_over_stall(&j)) {
			n_tried++;
			sim_job_mend(&j);
			sim_job_request(&j, SIM_GUEST_FLUSH);
			while (runs(&j, "mark")) {
				cr_assert(commit_is_stalled(j.guest.disk), "%s", j.what);
				sim_job_round(&j);
			}
		}
		sim_job_mend(&j);
		sim_job_close(&j);
		sim_job_free(&j);
	}
	cr_assert_geq(n_tried, 5, "%u of 20", n_tried);
	sim_chain_free(&chain);
}

/* It waits for a walk to end when the disk is given up: the walks that come later find it free. */
Test(asides, a_mark_that_is_not_begun_leaves_the_disk_free)
{
	unsigned n_tried = 0;
	struct sim_chain chain;

	sim_job_draw(&chain, &guest_kind);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct bpull_disk *disk;
		struct sim_job j;

		open_job(&j, &chain, &guest_kind, seed);
		disk = j.guest.disk;
		sim_job_request(&j, SIM_GUEST_WRITE); /* the first one prepares the image */
		sim_job_run_guest(&j);
		while (sim_job_is_running(&j) && !disk->since_opened.has_copied)
			sim_job_step_once(&j);
		touch_base(&j);
		disk->n_walking++;
		for (unsigned i = 0; i < 500 && !(disk->aside.kind && disk->exclusive); i++)
			sim_job_round(&j);
		if (disk->aside.kind && !disk->aside.runs && sim_job_step(&j) == JOB_UNWINDING) {
			n_tried++;
			j.may_fail = true;
			sim_job_request(&j, SIM_GUEST_WRITE);
			sim_job_run_guest(&j);
			fail_all(&j, SIM_SYNC);
			sim_job_request(&j, SIM_GUEST_FLUSH);
			sim_job_run_guest(&j);
			sim_job_run(&j);
			cr_assert(disk->poisoned, "%s", j.what);
			cr_assert_not(disk->exclusive, "%s: no walk may begin", j.what);
		}
		disk->n_walking--;
		sim_job_mend(&j);
		sim_job_close(&j);
		sim_job_free(&j);
	}
	cr_assert_geq(n_tried, 5, "%u of 20", n_tried);
	sim_chain_free(&chain);
}

/* A timer for a commit that may not begin would be over at once, again and again. */
Test(asides, no_timer_calls_for_a_commit_that_is_held)
{
	struct sim_chain chain;
	struct bpull_disk *disk;
	struct sim_job j;

	sim_job_draw(&chain, &guest_kind);
	open_job(&j, &chain, &guest_kind, 1);
	disk = j.guest.disk;
	sim_job_run(&j);
	cr_assert_eq(j.status, BPULL_JOB_COMPLETED);
	sim_job_settle(&j);
	commit_note_published(disk, 1);
	disk->commits.first_published_ns += HOUR_NS; /* however slow this machine is */
	sim_job_round(&j);
	cr_assert_eq(j.engine->loop.timer_ns, commit_due_ns(disk), "no timer");
	commit_hold(disk);
	sim_job_round(&j);
	cr_assert_eq(j.engine->loop.timer_ns, 0, "a timer");
	commit_release(disk);
	sim_job_round(&j);
	cr_assert_eq(j.engine->loop.timer_ns, commit_due_ns(disk), "no timer again");
	sim_job_close_judged(&j, true);
	sim_job_free(&j);
	sim_chain_free(&chain);
}
