/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Walks that count how much a job will copy at most (../progress/left.h). */
#ifndef BLOCKPULL_JOB_LEFT_COUNT_H
#define BLOCKPULL_JOB_LEFT_COUNT_H

#include <stdbool.h>
#include <stdint.h>

struct bpull_disk;
struct extent;
struct plan_walk;

/* A walk has come to this extent of what the job will copy. */
void left_note(struct plan_walk *walk, const struct extent *extent, uint64_t guest_off);
/* Counts by a walk of its own, where that costs little or it is wanted, unless another walk has
 * counted. Blocks, and lets others into the engine. What can't be mapped is not counted: the job
 * itself will say so. */
void left_count(struct bpull_disk *disk, bool is_wanted);

#endif
