/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A job's steps. */
#ifndef BLOCKPULL_JOB_JOB_H
#define BLOCKPULL_JOB_JOB_H

#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct bpull_job_options;

/* Starts the job (the disk is prepared), or concludes it where there is nothing to pull. */
void job_begin(struct bpull_disk *disk, const struct bpull_job_options *options);
/* Takes over what other threads have asked of the job that runs: pause, abort, finalize, rates. */
void job_obey(struct bpull_disk *disk, uint64_t now_ns);
/* The job that runs goes as far as it can. */
void job_run(struct bpull_disk *disk, uint64_t now_ns);
/* When job_run() has something to do without an event; UINT64_MAX: never. */
uint64_t job_deadline_ns(struct bpull_disk *disk, uint64_t now_ns);

#endif
