/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The files that a disk's chain has lost by its job, by name: for programs that remove them. What
 * there is is noted before the job, so that no memory can be lacking at its end.
 */
#ifndef BLOCKPULL_JOB_DROPPED_H
#define BLOCKPULL_JOB_DROPPED_H

#include "io/base.h"

struct bpull_disk;

/* Before a job of the disk's, or of a node of it: notes the chain's files. What the last job has
 * dropped is forgotten. 0 or -ENOMEM. */
int dropped_begin(struct bpull_disk *disk);
/* The job has COMPLETED, and what it has dropped is out of the chain. */
void dropped_end(struct bpull_disk *disk);
/* The i-th of them, from the top down; NULL: there is none. */
const char *dropped_path(const struct bpull_disk *disk, unsigned i);
void dropped_free(struct bpull_disk *disk);

#endif
