/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest's fixed session, with a pull or with copy-on-read beside it, during which
 * a call fails. Each answer is judged when it comes; test_faults_guest.c judges what
 * is left.
 */
#ifndef BLOCKPULL_TESTS_GUEST_TRIAL_H
#define BLOCKPULL_TESTS_GUEST_TRIAL_H

#include "tests/machine/sim_guest.h"

struct guest_trial {
	const struct sim_chain *chain;
	struct sim *sim;
	struct sim_fault fault;
	bool with_job; /* else with copy-on-read */
	struct bpull_engine *engine;
	struct sim_guest guest;
	/* When the requests in flight were submitted. */
	bool was_hit, was_poisoned, was_stalled, was_committing;
	bool job_runs, completed;
	unsigned n_failed;     /* requests and jobs */
	uint64_t n_writes_max; /* once it is poisoned: those that were under way then; else 0 */
	bool is_again;         /* nothing may fail */
	char what[200];
};

/* In all trials of this process. */
struct guest_trial_met {
	uint64_t runs, failed, poisoned, completed, canceled_opens;
};
extern struct guest_trial_met guest_trial_met;

/* A failure that is tried again until it works: no answer tells of it. */
bool guest_trial_passes(const struct sim_fault *fault);
/* What a call that met the fault says; one that never passes has been given up. */
int guest_trial_code(const struct sim_fault *fault);
/* Opens, runs, closes. Sets *is_exact: all that was written must be there. 0, or why it did not
 * open. */
int guest_trial_live(struct guest_trial *t, bool *is_exact);

#endif
