/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A job's place among the jobs that read the same layers (core/convoy.h). */
#ifndef BLOCKPULL_COPY_COMPANY_H
#define BLOCKPULL_COPY_COMPANY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/convoy.h"
#include "io/base.h"

struct bpull_disk;
struct copy_walk;

/* The walk's cursor was started: the walk joins the convoy of the jobs whose chains end in the same
 * layer, at their place. */
void company_join(struct bpull_disk *disk);
void company_leave(struct bpull_disk *disk);
/* All members of convoys are up to date. If the walk was parted from its convoy and has advanced
 * since, it joins again, at the others' place. */
void company_rejoin(struct bpull_disk *disk);
/* The convoy's window forbids the cursor's next run: others are too far behind. */
bool company_is_held(const struct bpull_disk *disk);
/* The cursor may begin its next run as far as convoys go: always for a job that goes alone. A
 * parted job has no more runs in flight than have ended since it was parted, and one. */
bool company_lets_go(const struct bpull_disk *disk);
/* Where the walk is: all before that place is done. */
struct convoy_place company_place(const struct bpull_disk *disk);
/* How many of len guest bytes a run at guest_off may take: with company it ends at a multiple of
 * KEPT_MAX_LEN, as kept ranges do. */
uint64_t company_run_len(const struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* A run of the walk has ended. begun_ns: when it began to read. */
void company_note_run(struct copy_walk *walk, uint64_t begun_ns);
/* Guest bytes that the walk has done. */
uint64_t company_walked_len(const struct bpull_disk *disk);

#endif
