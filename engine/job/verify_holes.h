/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading samples of what was skipped as holes. */
#ifndef BLOCKPULL_JOB_VERIFY_HOLES_H
#define BLOCKPULL_JOB_VERIFY_HOLES_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;

/* The job begins: from now on --holes=trust is not enough for the chain's files, whose holes need a
 * known file system. */
void verify_holes_begin(struct bpull_disk *disk);
/* Samples the holes that the job believes. True: all samples were zeros. A sample that is not fails
 * the job with -EBADMSG. To be called after each round until it is true. */
bool verify_holes(struct bpull_disk *disk);

#endif
