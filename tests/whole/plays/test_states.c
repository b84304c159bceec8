/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every call of <blockpull.h> that takes a disk or an engine, in every state of
 * a job, against the table in docs/embedding.md. For each cell: the answer is
 * the table's; the job ends as it would have without the call, or as the call
 * says; status, info, event, the link in the image and the content agree
 * (sim_job_judge.c); and the disk can be used, pulled again and closed afterwards.
 *
 *   STATES_SEED=first STATES_ROUNDS=n   other moments, or one again
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_job_judge.h"
#include "tests/support/effort.h"
#include "tests/support/leaks.h"
#include "tests/whole/plays/states.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(900);
TestSuite(states, .timeout = TIME_LIMIT_CLOCK(900));

static const char *const state_names[] = { "none",      "paused",    "copying",   "committing",
					   "proving",   "verifying", "ready",     "detaching",
					   "unwinding", "stopped",   "completed", "failed",
					   "canceled" };

/* How a job is started, and on what. */
static const struct sim_job_kind kinds[] = {
	{ { SIM_SMALL_CLUSTERS, SIM_SIZE(24, 0) }, BPULL_JOB_MANUAL_FINALIZE, true },
	{ { SIM_SMALL_QED, SIM_SIZE(12, 0) }, BPULL_JOB_MANUAL_FINALIZE | BPULL_JOB_VERIFY, false },
	{ { SIM_TO_BASE, SIM_SIZE(24, 0) }, BPULL_JOB_VERIFY, true },
	{ { SIM_SMALL_QED, SIM_SIZE(12, 0) }, 0, true },
	{ { SIM_V2_TO_BASE, SIM_SIZE(24, 0) }, BPULL_JOB_MANUAL_FINALIZE, false },
	{ { SIM_SNAPSHOTS(1), SIM_SIZE(24, 0) }, BPULL_JOB_VERIFY, false },
};

static int answer_of(const struct state_trial *t, const struct state_call *call)
{
	switch (call->answers[t->state]) {
	case '0': return 0;
	case '1': return 1;
	case 'B': return -EBUSY;
	case 'I': return -EINVAL;
	case 'N': return -ENOENT;
	case 'A': return -EAGAIN;
	case 'C': return t->job.with_guest ? 0 : -EINVAL;
	case 'G': return t->job.with_guest ? -EBUSY : -EINVAL;
	case 'S': return t->job.with_guest ? -ENOTSUP : -EINVAL;
	default: abort();
	}
}

/* ---- out of a state ---- */

static enum bpull_job_status status_without(const struct state_trial *t)
{
	if (t->state == UNWINDING)
		return t->by_failure ? BPULL_JOB_FAILED : BPULL_JOB_CANCELED;
	return BPULL_JOB_COMPLETED;
}

/* It waits, and goes on when it is told to. */
static void go_on(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	bool waits = t->state == PAUSED || t->state == STOPPED ||
		     (t->state == READY && sim_job_step(j) == JOB_READY);

	if (!sim_job_is_running(j))
		return;
	j->has_traffic = false;
	if (waits) {
		sim_job_settle(j);
		sim_job_assert(j, sim_job_is_running(j), "it did not wait");
	}
	if (t->state == STOPPED)
		sim_job_mend(j);
	if (t->state == STOPPED || t->state == PAUSED)
		bpull_job_resume(state_disk(t));
	sim_job_run(j);
	sim_job_assert(j, j->status == status_without(t), "status %d: %s", (int)j->status,
		       j->message);
}

/* No more is asked for; it may still end where nothing was to be asked for any more. */
static void be_paused(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	struct bpull_job_info info = { .size = sizeof(info) };
	uint64_t n_ops;

	if (!sim_job_is_running(j))
		return;
	j->has_traffic = false;
	sim_job_settle(j);
	bpull_job_get_info(state_disk(t), &info);
	sim_job_assert(j,
		       info.state == BPULL_JOB_PAUSED || info.state == BPULL_JOB_WAITING ||
			       info.state == BPULL_JOB_CONCLUDED,
		       "paused, and info has state %d (step %d)", (int)info.state,
		       (int)sim_job_step(j));
	n_ops = sim_n_all_ops(j->sim);
	sim_job_settle(j);
	sim_job_assert(j, sim_n_all_ops(j->sim) == n_ops, "paused, and it goes on");
	if (!sim_job_is_running(j)) {
		sim_job_assert(j, t->state >= COMMITTING && j->status == status_without(t),
			       "status %d: %s", (int)j->status, j->message);
		return;
	}
	if (t->state != STOPPED && info.state == BPULL_JOB_PAUSED)
		t->state = PAUSED;
	go_on(t);
}

/* As the header says: CANCELED, unless it completes or fails first. */
static void be_aborted(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	bool may_complete = t->state == DETACHING && t->was_leaving;

	if (!sim_job_is_running(j))
		return;
	sim_job_run(j);
	if (j->status == BPULL_JOB_FAILED)
		sim_job_assert(j, t->by_failure || t->state == STOPPED, "aborted, FAILED: %s",
			       j->message);
	else
		sim_job_assert(j, (j->status == BPULL_JOB_COMPLETED) == may_complete,
			       "aborted, status %d", (int)j->status);
}

/* Without mending: it stops again, or does without what failed. */
static void be_resumed(struct state_trial *t)
{
	struct sim_job *j = &t->job;

	if (t->state == STOPPED && sim_job_run_to_stop(j)) {
		go_on(t);
		return;
	}
	if (t->state == PAUSED)
		t->state = COPYING;
	go_on(t);
}

static void be_closed(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	bool has_link;

	if (j->engine)
		sim_job_close(j);
	sim_job_mend(j);
	sim_job_judge(j, &has_link);
	if (j->link_unknown || t->state == DETACHING)
		return;
	sim_job_assert(j, has_link == (t->state != COMPLETED), "closed, and the link is %s",
		       has_link ? "there" : "gone");
}

static void live_on(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	bool is_alone = j->n_starts && j->status == BPULL_JOB_COMPLETED;

	sim_job_mend(j);
	j->has_traffic = false;
	sim_job_run_guest(j);
	is_alone |= sim_job_use_again(j);
	sim_job_assert(j, !j->link_unknown, "nothing failed, and the link is unknown");
	sim_job_close_judged(j, is_alone);
}

static void go_out(struct state_trial *t, const struct state_call *call)
{
	switch (call->effect) {
	case NOTHING: go_on(t); break;
	case STARTS:
		if (t->state == NONE || t->state >= COMPLETED) {
			t->state = COPYING;
			sim_job_run(&t->job);
		}
		go_on(t);
		break;
	case PAUSES: be_paused(t); break;
	case RESUMES: be_resumed(t); break;
	case ABORTS: be_aborted(t); break;
	case FINALIZES:
		if (t->state == READY)
			t->state = DETACHING;
		go_on(t);
		break;
	case CLOSES: be_closed(t); return;
	}
	live_on(t);
}

/* False: the state was not met. */
static bool try_cell(const struct sim_chain *chain, const struct sim_job_kind *kind,
		     const struct state_call *call, enum state state, uint64_t seed)
{
	struct state_trial t = { .state = state,
				 .job = { .seed = seed,
					  .chain = chain,
					  .with_guest = kind->with_guest,
					  .options = { .flags = kind->flags,
						       .base = sim_chain_base(chain) } } };
	struct sim_job *j = &t.job;
	bool met;

	snprintf(j->what, sizeof(j->what), "STATES_SEED=%" PRIu64 ", kind %zu: %s while %s", seed,
		 (size_t)(kind - kinds), call->name, state_names[state]);
	sim_job_open(j);
	j->has_traffic = kind->with_guest;
	met = state_reach(&t);
	if (met) {
		int expected = answer_of(&t, call), rc;

		if (state == DETACHING)
			t.was_leaving =
				state_disk(&t)->link.leaving || state_disk(&t)->link.changed;
		rc = call->run(&t);
		sim_job_assert(j, rc == expected, "it answers %d (%s), not %d", rc, t.error.message,
			       expected);
		go_out(&t, call);
	}
	j->may_fail = true; /* where it was not met */
	sim_job_free(j);
	return met;
}

/* ---- all of it ---- */

static unsigned n_met[N_STATE_CALLS][N_STATES];

static void walk(const struct sim_job_kind *kind, uint64_t first, uint64_t n_rounds)
{
	struct sim_chain chain;

	sim_job_draw(&chain, kind);
	for (size_t i = 0; i < N_STATE_CALLS; i++)
		for (unsigned state = 0; state < N_STATES; state++)
			for (uint64_t k = 0; k < n_rounds; k++)
				n_met[i][state] += try_cell(&chain, kind, &state_calls[i],
							    (enum state)state, first + k);
	sim_chain_free(&chain);
}

Test(states, every_call_in_every_state_does_as_documented)
{
	uint64_t first = sim_pull_env("STATES_SEED", 1),
		 n_rounds = sim_pull_env("STATES_ROUNDS", EFFORT(2));
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		walk(&kinds[i], first, n_rounds);
	leaks_assert_none("a call");
	for (size_t i = 0; i < N_STATE_CALLS; i++)
		for (unsigned state = 0; state < N_STATES; state++) {
			n += n_met[i][state];
			cr_expect(n_met[i][state] || sim_pull_env("STATES_SEED", 0),
				  "%s was never called while %s", state_calls[i].name,
				  state_names[state]);
		}
	fprintf(stderr, "%u calls, seeds %" PRIu64 " to %" PRIu64 "\n", n, first,
		first + n_rounds - 1);
}
