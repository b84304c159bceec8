/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One pull during which a call fails, and what must hold of what it left: the
 * image opens, checks and reads as before, a power cut on top of the failure does
 * no harm, and a second pull brings it to its end.
 */
#ifndef BLOCKPULL_TESTS_FAULTS_H
#define BLOCKPULL_TESTS_FAULTS_H

#include "tests/machine/sim_pull.h"

#define FAULT_MAX_NTH 20000 /* more calls than any pull here makes */
#define FAULT_CHAINS  8

extern const struct sim_chain_how fault_chains[FAULT_CHAINS];

struct fault_trial {
	const struct sim_chain *chain;
	struct sim *sim;
	struct sim_fault fault;
	struct sim_pull pull;
	int rc;               /* of opening, starting, or the job */
	uint64_t n_unnoticed; /* reads ahead of tables that failed: they are read again */
	char what[200];
};

void fault_trial_pull(struct fault_trial *t);
/* Once the machine works again. */
void fault_trial_judge(struct fault_trial *t);

#endif
