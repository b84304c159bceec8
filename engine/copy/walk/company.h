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

/* The walk's cursor was started: from now on it goes with the jobs whose chains end in the same
 * layer, from their place on. */
void company_join(struct bpull_disk *disk);
void company_leave(struct bpull_disk *disk);
/* Its convoy's members are up to date. If others did not wait for it, and it has come on since, it
 * goes with them again, from their place on. */
void company_rejoin(struct bpull_disk *disk);
/* Others of the convoy are too far behind for the cursor's next run. */
bool company_is_held(const struct bpull_disk *disk);
/* What the convoy says to that run. True, too, for a job that goes alone. One that was parted from
 * others begins as many runs as have ended since, and one. */
bool company_lets_go(const struct bpull_disk *disk);
/* Where the walk is: all before that place is done. */
struct convoy_place company_place(const struct bpull_disk *disk);
/* Guest bytes, up to len, that a run at guest_off takes: with company it ends where a kept range
 * must. */
uint64_t company_run_len(const struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* A run of the walk has ended whose read began then. */
void company_note_run(struct copy_walk *walk, uint64_t begun_ns);
/* Guest bytes that the walk has done. */
uint64_t company_walked_len(const struct bpull_disk *disk);

#endif
