/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The end of a job on a machine that fails: from the moment that all is copied
 * on, the n-th read, write or barrier fails, for every n, once, for ever, or
 * until it passes; and then the program aborts, pauses, closes, or does nothing.
 * Whatever comes of it:
 *
 * - The job ends once. FAILED and CANCELED have the link, COMPLETED has not, in
 *   the store and after a power cut, or the message says that it can't be known
 *   (sim_job_judge.c judges that when the event comes).
 * - Nothing hangs: neither the job, nor its abort, nor closing the disk.
 * - Want of space is not the end of the disk: when there is some again the
 *   guest writes and flushes, and the next job completes. A disk that was given
 *   up (I7) refuses both, and its guest reads on.
 *
 * Failures before that are test_faults.c's and test_faults_guest.c's.
 *
 *   END_SEED=first END_ROUNDS=n END_KIND=first   other moments and actions, or one again
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_job_judge.h"
#include "tests/support/effort.h"
#include "tests/support/leaks.h"
#include "tests/machine/sim_job.h"
#include "tests/support/time_limit.h"

#define MAX_NTH 60 /* later requests come from the guest, who goes on and on */

TIME_LIMIT(900);
TestSuite(end_faults, .timeout = TIME_LIMIT_CLOCK(900));

/* The new link's name and its pointer are two writes. */
#define LONG_HEADER                                                                        \
	{                                                                                  \
		.format = IMAGE_QCOW2, .version = 3, .cluster_bits = 11, .n_clusters = 12, \
		.to_base = true, .long_header = true                                       \
	}

static const struct sim_job_kind kinds[] = {
	{ { SIM_SMALL_CLUSTERS, SIM_SIZE(24, 0) }, 0, true },
	{ { SIM_SMALL_QED, SIM_SIZE(12, 0) }, BPULL_JOB_MANUAL_FINALIZE, true },
	{ { SIM_TO_BASE, SIM_SIZE(24, 0) }, BPULL_JOB_VERIFY | BPULL_JOB_MANUAL_FINALIZE, true },
	{ { SIM_SMALL_QED, SIM_SIZE(12, 0) }, BPULL_JOB_VERIFY, false },
	{ { SIM_V2_TO_BASE, SIM_SIZE(24, 0) }, 0, false },
	{ LONG_HEADER, 0, true },
	{ LONG_HEADER, 0, false },
	{ { SIM_V3(10, 0), SIM_SIZE(24, 0), .mixed = true }, BPULL_JOB_ACCEPT_MIXED, true },
};

enum lasts {
	ONCE,
	FOREVER,
	PASSES, /* after a few */
	N_LASTS
};

enum action {
	NOTHING,
	ABORT,
	PAUSE,
	CLOSE,
	N_ACTIONS
};

static const struct {
	enum sim_op op;
	int error;
	bool arrives; /* and what was written is there */
} failures[] = {
	{ SIM_READ, -EIO, false },     { SIM_WRITE, -EIO, false }, { SIM_WRITE, -ENOSPC, false },
	{ SIM_WRITE, -EDQUOT, false }, { SIM_SYNC, -EIO, false },  { SIM_SYNC, -ENOSPC, false },
	{ SIM_SYNC, -EDQUOT, false },  { SIM_WRITE, -EIO, true },  { SIM_WRITE, -ENOSPC, true },
};

struct trial {
	struct sim_job job;
	enum sim_op op;
	int fault_error;
	bool arrives;
	enum lasts lasts;
	enum action action;
	uint64_t nth, n_passes;
	bool is_done;          /* the action */
	bool may_not_complete; /* it was aborted in time */
	bool must_link;        /* it was closed before the link was on its way */
	unsigned n_stops_seen;
};

static struct {
	unsigned runs, completed, failed, canceled, closed, stopped, poisoned, unknown, second;
} met;

static struct bpull_disk *disk_of(const struct trial *t)
{
	return t->job.guest.disk;
}

static bool is_hit(const struct trial *t)
{
	return sim_n_faults_hit(t->job.sim);
}

static bool is_past_return(const struct trial *t)
{
	const struct bpull_disk *disk = disk_of(t);

	return disk->link.leaving || disk->link.changed || disk->job.step == JOB_IDLE;
}

static void act(struct trial *t)
{
	struct sim_job *j = &t->job;

	t->is_done = true;
	switch (t->action) {
	case ABORT:
		t->may_not_complete = !is_past_return(t);
		bpull_job_abort(disk_of(t));
		break;
	case PAUSE:
		bpull_job_pause(disk_of(t));
		for (int i = 0; i < 40 && sim_job_is_running(j); i++)
			sim_job_round(j);
		bpull_job_resume(disk_of(t));
		break;
	case CLOSE:
		t->must_link = !is_past_return(t) && sim_job_step(j) != JOB_DETACHING;
		sim_job_close(j);
		break;
	case NOTHING:
	case N_ACTIONS: break;
	}
}

/* Once without mending anything: it stops again, or does without. */
static void go_on(struct trial *t)
{
	t->n_stops_seen = t->job.n_stops;
	met.stopped++;
	if (t->n_stops_seen > 1)
		sim_job_mend(&t->job);
	bpull_job_resume(disk_of(t));
}

/* False: it was closed. */
static bool run_to_end(struct trial *t)
{
	struct sim_job *j = &t->job;

	for (unsigned i = 0; sim_job_is_running(j); i++) {
		bool waits_stopped = j->n_stops != t->n_stops_seen;

		if (is_hit(t) && !t->is_done &&
		    (waits_stopped || !disk_of(t)->job.on_error || sim_job_below(j, 2)))
			act(t);
		if (!j->engine)
			return false;
		if (t->lasts == PASSES && sim_n_faults_hit(j->sim) >= t->n_passes)
			sim_job_mend(j);
		if (waits_stopped && t->action != ABORT)
			go_on(t);
		if (sim_job_is_running(j) && sim_job_step(j) == JOB_READY)
			bpull_job_finalize(disk_of(t));
		if (i > 500)
			j->has_traffic = false; /* it is to come to its end */
		if (!sim_job_step_once(j))
			break;
	}
	return true;
}

static void judge_status(const struct trial *t)
{
	const struct sim_job *j = &t->job;
	bool may_fail = is_hit(t);

	if (j->status == BPULL_JOB_COMPLETED) {
		met.completed++;
		sim_job_assert(j, !t->may_not_complete, "aborted in time, and COMPLETED");
	} else if (j->status == BPULL_JOB_CANCELED) {
		met.canceled++;
		sim_job_assert(j, t->is_done && t->action == ABORT, "CANCELED, and not aborted");
	} else {
		met.failed++;
		sim_job_assert(j, may_fail, "FAILED without a fault: %s", j->message);
		sim_job_assert(j, j->error == t->fault_error, "FAILED with %s: %s",
			       strerror(-j->error), j->message);
	}
	met.unknown += j->link_unknown;
	sim_job_assert(j, !j->link_unknown || t->lasts != ONCE,
		       "the old header could be put back: %s", j->message);
	if (t->op == SIM_WRITE && t->fault_error != -EIO && !j->link_unknown)
		sim_job_assert(j, !disk_of(t)->poisoned, "given up for want of space");
	if (t->op == SIM_READ)
		sim_job_assert(j, !disk_of(t)->poisoned, "given up for a read");
}

/* A disk that was given up reads, and does nothing else. */
static void use_poisoned(struct trial *t)
{
	struct sim_job *j = &t->job;
	unsigned n_failed;

	met.poisoned++;
	sim_job_assert(j, sim_job_start(j) == disk_of(t)->poisoned, "a job on it is not refused");
	if (!j->with_guest)
		return;
	j->may_fail = false;
	sim_job_request(j, SIM_GUEST_READ);
	sim_job_run_guest(j);
	j->may_fail = true;
	n_failed = j->n_failed;
	sim_job_request(j, SIM_GUEST_FLUSH);
	sim_job_run_guest(j);
	sim_job_assert(j, j->n_failed == n_failed + 1, "a flush of it succeeds");
}

static void live_on(struct trial *t)
{
	struct sim_job *j = &t->job;
	bool is_alone = j->status == BPULL_JOB_COMPLETED;

	sim_job_mend(j);
	j->has_traffic = false;
	sim_job_run_guest(j);
	if (disk_of(t)->poisoned) {
		use_poisoned(t);
	} else {
		j->options.on_error = BPULL_ON_ERROR_REPORT;
		if (sim_job_use_again(j)) {
			met.second++;
			is_alone = true;
		}
	}
	sim_job_close_judged(j, is_alone);
}

static void judge_closed(struct trial *t)
{
	struct sim_job *j = &t->job;
	bool has_link;

	met.closed++;
	sim_job_mend(j);
	sim_job_judge(j, &has_link);
	sim_job_assert(j, has_link || !t->must_link, "closed before the end, and the link is gone");
}

static void describe(struct trial *t, size_t kind)
{
	static const char *const ops[] = { "read", "write", "sync" };
	static const char *const lasts[] = { "once", "for ever", "until it passes" };
	static const char *const actions[] = { "then nothing", "then aborted", "then paused",
					       "then closed" };
	struct sim_job *j = &t->job;

	snprintf(j->what, sizeof(j->what),
		 "END_SEED=%" PRIu64 ", kind %zu, on_error %u: %s number %" PRIu64
		 " of its end: %s%s %s, %s",
		 j->seed, kind, j->options.on_error, ops[t->op], t->nth, strerror(-t->fault_error),
		 t->arrives ? " behind what was written" : "", lasts[t->lasts], actions[t->action]);
}

/* False: there was no such request. */
static bool try_fault(struct trial *t)
{
	struct sim_job *j = &t->job;
	bool hit;
	int rc;

	met.runs++;
	sim_job_open(j);
	t->n_passes = 1 + sim_job_below(j, 4);
	rc = sim_job_start(j);
	sim_job_assert(j, !rc, "no job");
	j->has_traffic = j->with_guest;
	while (sim_job_step(j) == JOB_COPYING)
		sim_job_round(j);
	j->may_fail = true;
	sim_fail(j->sim, &(struct sim_fault){ .op = t->op,
					      .nth = t->nth,
					      .error = t->fault_error,
					      .arrives = t->arrives,
					      .forever = t->lasts != ONCE });
	if (run_to_end(t)) {
		judge_status(t);
		hit = is_hit(t);
		live_on(t);
	} else {
		hit = true;
		judge_closed(t);
	}
	sim_job_free(j);
	return hit;
}

static void try_all(const struct sim_chain *chain, size_t kind, size_t failure, uint64_t seed)
{
	for (unsigned on_error = 0; on_error <= BPULL_ON_ERROR_ENOSPC; on_error++)
		for (unsigned lasts = 0; lasts < N_LASTS; lasts++)
			for (uint64_t n = EFFORT_FIRST(kind + failure + on_error); n < MAX_NTH;
			     n += EFFORT_STEP) {
				struct trial t = {
					.job = { .seed = seed,
						 .chain = chain,
						 .with_guest = kinds[kind].with_guest,
						 .options = { .flags = kinds[kind].flags,
							      .on_error = on_error,
							      .base = sim_chain_base(chain) } },
					.op = failures[failure].op,
					.fault_error = failures[failure].error,
					.arrives = failures[failure].arrives,
					.lasts = (enum lasts)lasts,
					.action = (enum action)((n + on_error + lasts + seed) %
								N_ACTIONS),
					.nth = n,
				};

				describe(&t, kind);
				if (!try_fault(&t))
					break;
			}
}

Test(end_faults, no_failure_at_the_end_hangs_or_drops_the_link_early)
{
	uint64_t first = sim_pull_env("END_SEED", 1),
		 n_rounds = sim_pull_env("END_ROUNDS", EFFORT(2));

	for (size_t kind = sim_pull_env("END_KIND", 0); kind < ARRAY_LEN(kinds); kind++) {
		struct sim_chain chain;

		sim_job_draw(&chain, &kinds[kind]);
		for (size_t failure = 0; failure < ARRAY_LEN(failures); failure++)
			for (uint64_t seed = first; seed < first + n_rounds; seed++)
				try_all(&chain, kind, failure, seed);
		sim_chain_free(&chain);
		leaks_assert_none("a failing call");
	}
	fprintf(stderr,
		"%u runs: %u completed, %u failed, %u canceled, %u closed; %u stops, %u disks "
		"given "
		"up, %u links unknown, %u second jobs\n",
		met.runs, met.completed, met.failed, met.canceled, met.closed, met.stopped,
		met.poisoned, met.unknown, met.second);
	if (sim_pull_env("END_KIND", 0))
		return;
	cr_assert(met.completed > EFFORT(100) && met.failed > EFFORT(100) &&
		  met.canceled > EFFORT(50) && met.closed > EFFORT(50) &&
		  met.stopped > EFFORT(50) && met.poisoned > EFFORT(50) &&
		  met.second > EFFORT(100));
}
