/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One run of pulls under a limit (limit_measure.c); limit.c asks for it and
 * judges it.
 */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/rig/series.h"

#define LIMIT_MAX_JOBS 16

struct limit_run {
	unsigned n_jobs;
	uint64_t rate;    /* bytes/s; of one job its own limit, of several the engine's */
	uint64_t seconds; /* after which the jobs are aborted */
	bool ended_early; /* a job had copied all before: the series end there */
	struct series *series[1 + LIMIT_MAX_JOBS]; /* all jobs together, then each */
};

/* The series live as long as the process. 0, or an exit code, having said why. */
int limit_run_init(struct limit_run *run, unsigned n_jobs);
/* Pulls overlays of the raw file `base` in the current directory. 0 or an exit code. */
int limit_measure(struct limit_run *run);

#endif
