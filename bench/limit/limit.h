/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One run of pulls under a limit, in one process (limit_measure.c) or in several under a host's
 * budget (limit_processes.c); limit.c asks for it and judges it.
 */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/rig/series.h"

#define LIMIT_MAX_JOBS 16

struct limit_run {
	unsigned n_jobs;
	uint64_t rate;    /* bytes/s; of one job its own limit, of several the engine's; 0: none */
	uint64_t seconds; /* after which the jobs are aborted */
	bool ended_early; /* a job had copied all before: the series end there */
	struct series *series[1 + LIMIT_MAX_JOBS]; /* all jobs together, then each */
	unsigned first;                            /* number of its first image */
	/* As bpull_engine_options have it. */
	uint64_t (*budget)(void *budget_opaque, uint64_t bytes);
	void *budget_opaque;
	void (*ready)(void *opaque); /* called when all is open; NULL: not */
	void *opaque;
};

/* The series live as long as the process. 0, or an exit code, having said why. */
int limit_run_init(struct limit_run *run, unsigned n_jobs);
/* Pulls overlays of the raw file `base` in the current directory. 0 or an exit code. */
int limit_measure(struct limit_run *run);
/* The same with a process for each job, all under one budget of the run's rate. The first one is
 * killed half way, *killed_ns after the beginning (NULL: none is). */
int limit_measure_processes(struct limit_run *run, uint64_t *killed_ns);

#endif
