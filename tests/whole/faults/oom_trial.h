/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sessions of tests/whole/chains/ whose n-th allocation fails. */
#ifndef BLOCKPULL_TESTS_OOM_TRIAL_H
#define BLOCKPULL_TESTS_OOM_TRIAL_H

#include "tests/whole/chains/trial.h"

/* A machine with the chain's files, of which the caller frees t.sim. */
struct trial oom_trial(const struct sim_chain *chain, uint64_t nth, bool forever);
/* The session is over, oom_arm() was called before it, and rc is why it did not open. How many
 * allocations failed. */
uint64_t oom_trial_n_failed(const struct trial *t, int rc);
/* As oom_try_all(), each of n chains once. */
void oom_try_trials(const struct sim_chain_how *hows, uint64_t n, bool forever,
		    bool (*try)(const struct sim_chain *chain, uint64_t nth, bool forever));

#endif
