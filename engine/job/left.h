/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How much a job has still to copy. */
#ifndef BLOCKPULL_JOB_LEFT_H
#define BLOCKPULL_JOB_LEFT_H

#include <stdbool.h>
#include <stdint.h>

struct bpull_disk;
struct extent;
struct job_left;
struct plan_walk;

/* Begins to count what a job will copy at most of a disk of len bytes, before it begins. What was
 * counted before is forgotten. */
void left_begin(struct job_left *left, uint64_t len);
/* A walk has come to this extent of what the job will copy. */
void left_note(struct plan_walk *walk, const struct extent *extent, uint64_t guest_off);
/* Counts by a walk of its own, where that costs little or it is wanted, unless another walk has
 * counted. Blocks, and lets others into the engine. What can't be mapped is not counted: the job
 * itself will say so. */
void left_count(struct bpull_disk *disk, bool is_wanted);
/* Bytes that its limits have still to pay for: of what was counted, what lies where its walk has
 * not been. Where nothing was counted all that is not in the image yet is taken to hold as much
 * as what was looked at. */
uint64_t left_bytes(const struct bpull_disk *disk);
/* After each round: how long the job will take yet is in its time_left then. */
void left_look(struct bpull_disk *disk, uint64_t now_ns);

#endif
