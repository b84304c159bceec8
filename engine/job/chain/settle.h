/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A disk whose image is to change hands: nothing of it is in memory only. */
#ifndef BLOCKPULL_JOB_SETTLE_H
#define BLOCKPULL_JOB_SETTLE_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;

/* Begins the next commit that the disk needs to come to rest. No request of it begins. True: all of
 * it is durable, and space that was let go is free; or that can't be had: the disk is poisoned, or
 * its commit finds no space. False: something is in flight for it, whose end runs the engine again.
 * *n_commits: those begun, 0 at first. */
bool disk_settle_on(struct bpull_disk *disk, unsigned *n_commits);
/* The same at the end of a node's own job; true where the disk is no node. A backing file that may
 * be written to owes a barrier from the beginning, also where its job had nothing to write there,
 * and one that still owes it goes to no later job. */
bool disk_settle_node(struct bpull_disk *disk);
/* A commit that found no space has another try, unless it had one. True: it has it now. */
bool disk_retry_once(struct bpull_disk *disk, bool *has_retried);

#endif
