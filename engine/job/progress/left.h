/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How much a job has still to copy. */
#ifndef BLOCKPULL_JOB_LEFT_H
#define BLOCKPULL_JOB_LEFT_H

#include <stdint.h>

struct bpull_disk;
struct job_left;

/* Begins to count what a job will copy at most of a disk of len bytes, before it begins. What was
 * counted before is forgotten. */
void left_begin(struct job_left *left, uint64_t len);
/* The job will copy [guest_off, end). */
void left_add(struct job_left *left, uint64_t guest_off, uint64_t end);
/* Bytes that its limits have still to pay for: of what was counted, what lies where its walk has
 * not been. Where nothing was counted all that is not in the image yet is taken to hold as much
 * as what was looked at. */
uint64_t left_bytes(const struct bpull_disk *disk);
/* After each round: how long the job will take yet is in its time_left then. */
void left_look(struct bpull_disk *disk, uint64_t now_ns);

#endif
