/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job does aside and alone with its image (engine/core/aside.h), beside
 * what it must not run beside: a call that walks the tables, a commit in flight.
 * Drawn plays seldom have either inside when one begins, so each is put there by
 * hand: a walk is counted as bpull_disk_map() counts it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/commit/state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/aside.h"
#include "engine/core/loop.h"
#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_job.h"
#include "tests/support/time_limit.h"

#define N_SEEDS  40
#define N_ROUNDS 300 /* more than anything in flight needs to end */

TIME_LIMIT(60);
TestSuite(exclusive, .timeout = TIME_LIMIT_CLOCK(60));

static const struct sim_job_kind kind = { { SIM_SMALL_QED, SIM_SIZE(24, 0) }, 0, false };

/* A job that is stopped, since the n-th write of its runs or tables failed. False: it has ended. */
static bool open_stopped(struct sim_job *j, struct sim_chain *chain, uint64_t seed, uint64_t nth)
{
	*j = (struct sim_job){ .seed = seed, .chain = chain };
	snprintf(j->what, sizeof(j->what), "seed %" PRIu64, seed);
	j->options.on_error = BPULL_ON_ERROR_STOP;
	sim_job_open(j);
	sim_fail(j->sim, &(struct sim_fault){ .op = SIM_WRITE, .nth = nth, .error = -ENOSPC });
	cr_assert_eq(sim_job_start(j), 0);
	return sim_job_run_to_stop(j);
}

static bool is_at(const struct sim_job *j, const char *name)
{
	const struct aside_kind *at = j->guest.disk->aside.kind;

	return at && !strcmp(at->name, name);
}

static void begin_walk(struct sim_job *j)
{
	j->guest.disk->n_walking++;
}

static void end_walk(struct sim_job *j)
{
	j->guest.disk->n_walking--;
	engine_rerun(j->engine);
}

/* True: the job has come to it, and it has not begun, however long the walk takes. */
static bool waits_for_walk(struct sim_job *j, const char *name)
{
	const struct bpull_disk *disk = j->guest.disk;

	for (unsigned i = 0; i < N_ROUNDS && sim_job_is_running(j); i++) {
		sim_job_round(j);
		sim_job_assert(j, !is_at(j, name) || !disk->aside.runs, "%s runs beside a walk",
			       name);
		sim_job_assert(j, !is_at(j, name) || disk->exclusive,
			       "another walk may begin before %s", name);
	}
	return is_at(j, name);
}

static void close_ended(struct sim_job *j, enum bpull_job_status status)
{
	sim_job_assert(j, j->status == status, "it ended with %d: %s", (int)j->status, j->message);
	sim_job_assert(j, !j->guest.disk->exclusive, "the image is kept from all calls");
	sim_job_close_judged(j, status == BPULL_JOB_COMPLETED);
}

enum then {
	NO_WALK,
	WALK_ENDS,
	ABORT,
	ABORT_POISONED,
};

/* The job unwinds, comes to the same aside and waits again. Where its disk is given up then, as by
 * a failed barrier, it ends without: the walk goes on. */
static void abort_waiting(struct sim_job *j, enum then then)
{
	struct bpull_disk *disk = j->guest.disk;

	sim_job_assert(j, sim_job_step(j) == JOB_COMMITTING, "it does not wait");
	bpull_job_abort(disk);
	sim_job_assert(j, waits_for_walk(j, "reclaim"), "it went on");
	sim_job_assert(j, sim_job_step(j) == JOB_UNWINDING, "it was not aborted");
	if (then == ABORT)
		return;
	disk->poisoned = -EIO;
	engine_rerun(j->engine);
	sim_job_run(j);
	sim_job_assert(j, !disk->exclusive, "calls on the image wait for ever");
}

/* A job without a guest takes unused clusters out before it proves what it copied. */
static unsigned reclaim_beside_walk(struct sim_chain *chain, uint64_t seed, enum then then)
{
	struct sim_job j;
	bool waits = false;

	if (open_stopped(&j, chain, seed, seed % 4 + 1)) {
		sim_job_mend(&j);
		begin_walk(&j);
		bpull_job_resume(j.guest.disk);
		waits = waits_for_walk(&j, "reclaim");
		if (waits && then != WALK_ENDS)
			abort_waiting(&j, then);
		end_walk(&j);
	}
	if (waits) {
		sim_job_run(&j);
		close_ended(&j, then == WALK_ENDS ? BPULL_JOB_COMPLETED : BPULL_JOB_CANCELED);
	} else {
		sim_job_close(&j);
	}
	sim_job_free(&j);
	return waits;
}

/* Plays it on a chain of each seed; it must come to what it is about in some of them. */
static void check_seeds(unsigned (*play)(struct sim_chain *chain, uint64_t seed, enum then then),
			enum then then)
{
	unsigned n = 0;

	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		struct sim_job_kind drawn = kind;
		struct sim_chain chain;

		drawn.how.seed = seed;
		sim_job_draw(&chain, &drawn);
		n += play(&chain, seed, then);
		sim_chain_free(&chain);
	}
	cr_assert_geq(n, 3, "%u of %d", n, N_SEEDS);
}

Test(exclusive, a_reclaim_waits_for_a_walk)
{
	check_seeds(reclaim_beside_walk, WALK_ENDS);
}

/* It had not begun, and begins anew where it is wanted still. */
Test(exclusive, one_that_waited_when_its_job_was_aborted)
{
	check_seeds(reclaim_beside_walk, ABORT);
}

/* The end of the job must let calls to the image again. */
Test(exclusive, one_that_waited_when_its_disk_was_given_up)
{
	check_seeds(reclaim_beside_walk, ABORT_POISONED);
}

/* Until the job ends: as soon as it comes to the cut, no commit is under way. */
static void run_with_cut(struct sim_job *j)
{
	const struct bpull_disk *disk = j->guest.disk;

	while (sim_job_is_running(j)) {
		sim_job_assert(
			j, !is_at(j, "cut") || !commit_is_running(disk) || commit_is_stalled(disk),
			"the file is cut beside a commit");
		sim_job_step_once(j);
	}
	sim_job_assert(j, !disk->walk->abandoned_end, "the end was not given back");
}

/* A stopped job commits what it has. That is under way when the job is aborted, with what a failed
 * run had written still behind the end. */
static unsigned cut_beside(struct sim_chain *chain, uint64_t seed, enum then then)
{
	struct sim_job j;
	bool is_met = false, is_walk = then == WALK_ENDS;

	if (open_stopped(&j, chain, seed, seed % 6 + 1)) {
		struct bpull_disk *disk = j.guest.disk;

		for (unsigned i = 0; i < N_ROUNDS && !commit_is_running(disk); i++)
			sim_job_round(&j);
		disk->walk->abandoned_end = disk_overlay(disk)->alloc_end + KiB;
		is_met = commit_is_running(disk);
		if (is_walk)
			begin_walk(&j);
		bpull_job_abort(disk);
		if (is_walk) {
			is_met = waits_for_walk(&j, "cut");
			sim_job_assert(&j, is_met, "the end was given back beside a walk");
			end_walk(&j);
		}
		run_with_cut(&j);
		sim_job_assert(&j, !disk->exclusive, "calls on the image wait for ever");
	}
	sim_job_close(&j);
	sim_job_free(&j);
	return is_met;
}

Test(exclusive, a_cut_waits_for_a_commit)
{
	check_seeds(cut_beside, NO_WALK);
}

Test(exclusive, a_cut_waits_for_a_walk)
{
	check_seeds(cut_beside, WALK_ENDS);
}
