/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Pulls whose n-th allocation fails, for tests that differ in where the bases come from. */
#ifndef BLOCKPULL_TESTS_OOM_PULL_H
#define BLOCKPULL_TESTS_OOM_PULL_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/machine/sim_chain.h"
#include "tests/machine/sim_pull.h"

struct oom_run {
	const struct sim_chain *chain;
	struct sim *sim;
	uint64_t nth; /* 0: no allocation fails */
	bool forever;
	uint32_t flags; /* of the job: enum bpull_job_flags */
	uint64_t n_failed;
	char what[100];
};

/* Makes a struct sim_pull and has it run by oom_run_pull(). 0, or -errno of the opening or the
 * job. */
typedef int (*oom_pull_fn)(struct oom_run *run);

int oom_run_pull(struct oom_run *run, struct sim_pull *pull);
/* As oom_try_all(): each pull ends well or with -ENOMEM, leaves a whole image, and is brought to
 * its end by another one. */
uint64_t oom_try_pulls(const struct sim_chain_how *hows, uint64_t n_hows, uint64_t n, bool forever,
		       oom_pull_fn pull);

#endif
