/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* To which layer a job pulls. */
#ifndef BLOCKPULL_JOB_TARGET_H
#define BLOCKPULL_JOB_TARGET_H

#include "io/base.h"

struct bpull_disk;
struct bpull_job_options;
struct chain;
struct err;

/* A job has ended, or did not begin: forgets its target. */
void job_forget_target(struct bpull_disk *disk);
/* To which layer a job with these options pulls (all: n_layers), and what the image will call it
 * (malloc'd; NULL: nothing). 0, or -errno with a sentence. Blocking. */
int job_find_base(const struct chain *chain, const struct bpull_job_options *options,
		  unsigned *pull_to, char **base_name, struct err *err);

/* What a job is to leave behind. It is the disk's (job_take_target()) from the job's start to its
 * end only: asking whether a job would be refused must not change one that runs. */
struct target {
	unsigned pull_to; /* layers [1, pull_to) are to be pulled */
	char *base_name;  /* what the overlay will call the one below them; NULL: there is none */
};

/* The disk takes the target over, and frees the one before. */
void job_take_target(struct bpull_disk *disk, struct target *target);

#endif
