/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The ways into each state: see states.h. */
#include <errno.h>

#include "tests/whole/plays/states.h"

static void fail_from_now(struct state_trial *t, enum sim_op op, int error)
{
	t->job.may_fail = true;
	sim_fail(t->job.sim,
		 &(struct sim_fault){ .op = op, .nth = 1, .error = error, .forever = true });
}

/* To a random round of a random step before the link goes. */
static bool run_to_any(struct state_trial *t)
{
	static const enum job_step steps[] = { JOB_COPYING,  JOB_COPYING,   JOB_COMMITTING,
					       JOB_PROVING,  JOB_VERIFYING, JOB_READY,
					       JOB_DETACHING };
	enum job_step step = steps[sim_job_below(&t->job, ARRAY_LEN(steps))];

	return sim_job_run_to(&t->job, step, (unsigned)sim_job_below(&t->job, 4));
}

static bool reach_paused(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	bool had_traffic = j->has_traffic;

	if (!sim_job_below(j, 2)) {
		j->options.flags |= BPULL_JOB_START_PAUSED;
		sim_job_start(j);
	} else {
		sim_job_start(j);
		if (!sim_job_run_to(j, JOB_COPYING, (unsigned)sim_job_below(j, 8)))
			return false;
		bpull_job_pause(state_disk(t));
	}
	j->has_traffic = false;
	sim_job_settle(j);
	j->has_traffic = had_traffic;
	j->options.flags &= ~(uint32_t)BPULL_JOB_START_PAUSED;
	return sim_job_is_running(j);
}

static bool reach_unwinding(struct state_trial *t)
{
	struct sim_job *j = &t->job;

	sim_job_start(j);
	t->by_failure = sim_job_below(j, 2);
	if (!sim_job_run_to(j, JOB_COPYING, (unsigned)sim_job_below(j, 12)))
		return false;
	if (t->by_failure)
		fail_from_now(t, SIM_READ, -EIO);
	else
		bpull_job_abort(state_disk(t));
	return sim_job_run_to(j, JOB_UNWINDING, (unsigned)sim_job_below(j, 3));
}

static bool reach_stopped(struct state_trial *t)
{
	struct sim_job *j = &t->job;
	bool of_space = sim_job_below(j, 2);

	j->options.on_error = BPULL_ON_ERROR_STOP;
	if (of_space && sim_job_below(j, 2))
		j->options.on_error = BPULL_ON_ERROR_ENOSPC;
	sim_job_start(j);
	if (!run_to_any(t))
		return false;
	fail_from_now(t, of_space ? SIM_WRITE : SIM_READ, of_space ? -ENOSPC : -EIO);
	return sim_job_run_to_stop(j);
}

static bool reach_end(struct state_trial *t)
{
	struct sim_job *j = &t->job;

	sim_job_start(j);
	if (t->state != COMPLETED && !run_to_any(t))
		return false;
	if (t->state == FAILED)
		fail_from_now(t, SIM_READ, -EIO);
	else if (t->state == CANCELED)
		bpull_job_abort(state_disk(t));
	sim_job_run(j);
	sim_job_mend(j);
	sim_job_run_guest(j);
	j->may_fail = false;
	return j->status == (t->state == COMPLETED ? BPULL_JOB_COMPLETED
			     : t->state == FAILED  ? BPULL_JOB_FAILED
						   : BPULL_JOB_CANCELED);
}

bool state_reach(struct state_trial *t)
{
	static const enum job_step steps[N_STATES] = {
		[COPYING] = JOB_COPYING, [COMMITTING] = JOB_COMMITTING,
		[PROVING] = JOB_PROVING, [VERIFYING] = JOB_VERIFYING,
		[READY] = JOB_READY,     [DETACHING] = JOB_DETACHING,
	};
	static const unsigned rounds[N_STATES] = {
		[COPYING] = 12,  [COMMITTING] = 4, [PROVING] = 3,
		[VERIFYING] = 4, [READY] = 3,      [DETACHING] = 9
	};

	switch (t->state) {
	case NONE: return true;
	case PAUSED: return reach_paused(t);
	case UNWINDING: return reach_unwinding(t);
	case STOPPED: return reach_stopped(t);
	case COMPLETED:
	case FAILED:
	case CANCELED: return reach_end(t);
	case COPYING:
	case COMMITTING:
	case PROVING:
	case VERIFYING:
	case READY:
	case DETACHING:
		sim_job_start(&t->job);
		return sim_job_run_to(&t->job, steps[t->state],
				      (unsigned)sim_job_below(&t->job, rounds[t->state]));
	case N_STATES: break;
	}
	abort();
}
