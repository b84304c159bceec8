/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The steps of a job, one function for each: job.c has the table of them. */
#ifndef BLOCKPULL_JOB_STEPS_H
#define BLOCKPULL_JOB_STEPS_H

#include <stdint.h>

#include "engine/blockpull.h"
#include "engine/core/job.h"
#include "io/base.h"

struct bpull_disk;

void job_step_copying(struct bpull_disk *disk, uint64_t now_ns);
void job_step_committing(struct bpull_disk *disk, uint64_t now_ns);
void job_step_proving(struct bpull_disk *disk, uint64_t now_ns);
void job_step_verifying(struct bpull_disk *disk, uint64_t now_ns);
void job_step_detaching(struct bpull_disk *disk, uint64_t now_ns);
/* Begins JOB_VERIFYING of what was noted so far; then the job is in the step `after`. */
void job_step_verify(struct bpull_disk *disk, enum job_step after);
/* Begins JOB_COPYING once more, for what is owed still; or fails the job, where walks find no less
 * of it. */
void job_step_walk_again(struct bpull_disk *disk);
/* Begins JOB_UNWINDING, from any step before the link is gone: the link stays. */
void job_step_begin_unwinding(struct bpull_disk *disk);
void job_step_unwinding(struct bpull_disk *disk, uint64_t now_ns);

/* The end of a job, as JOB_DETACHING and JOB_UNWINDING reach it, or one that has nothing to do:
 * frees what it held, and tells the program. */
void job_conclude(struct bpull_disk *disk, enum bpull_job_status status);

#endif
