/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a measured run waits for: a job's end, a plain copy's. Failures are said here. */
#ifndef BENCH_RIG_ENDS_H
#define BENCH_RIG_ENDS_H

#include <stdbool.h>

#include "bench/rig/copies.h"
#include "engine/blockpull.h"

/* Runs the engine until something has happened, for at most so long (-1: for ever). *is_over: a
 * job has ended as it should. `what` ("pull") begins a message. An exit code. */
int ends_of_job(struct bpull_engine *engine, const char *what, int timeout_ms, bool *is_over);
/* The same until a job has ended. */
int ends_wait_job(struct bpull_engine *engine, const char *what);
/* copies_run(). An exit code. */
int ends_copy(const struct copies_job *job);

#endif
