/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * For test_states.c: the states that a job is caught in, and the calls that are
 * made there.
 */
#ifndef BLOCKPULL_TESTS_STATES_H
#define BLOCKPULL_TESTS_STATES_H

#include "tests/machine/sim_job.h"

enum state {
	NONE,
	PAUSED,
	COPYING,
	COMMITTING,
	PROVING,
	VERIFYING,
	READY,
	DETACHING,
	UNWINDING,
	STOPPED, /* by an error, in any step */
	COMPLETED,
	FAILED,
	CANCELED,
	N_STATES
};

/* One cell, tried once. */
struct state_trial {
	struct sim_job job;
	enum state state;
	struct bpull_error error;
	struct bpull_job_info info;
	bool by_failure;  /* UNWINDING */
	bool was_leaving; /* DETACHING: abort comes too late */
};

static inline struct bpull_disk *state_disk(const struct state_trial *t)
{
	return t->job.guest.disk;
}

enum effect {
	NOTHING, /* the job goes on as without it */
	STARTS,
	PAUSES,
	RESUMES,
	ABORTS,
	FINALIZES,
	CLOSES,
};

/* A row of the table in docs/embedding.md. Answers, a state each: 0, 1, B -EBUSY, I -EINVAL,
 * N -ENOENT, A -EAGAIN; and, but -EINVAL without GUEST_IO, C 0, G -EBUSY, S -ENOTSUP:
 *   none, paused, copying, committing, proving, verifying, ready, detaching, unwinding, stopped,
 *   completed, failed, canceled */
struct state_call {
	const char *name;
	int (*run)(struct state_trial *t); /* returns its answer */
	const char *answers;
	enum effect effect;
};
extern const struct state_call state_calls[];
#define N_STATE_CALLS 39

/* Brings a job that is open, and not started, into t->state. False: it was not met. */
bool state_reach(struct state_trial *t);

#endif
