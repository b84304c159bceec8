/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The walk over the guest's disk that starts copy runs. */
#ifndef BLOCKPULL_COPY_CURSOR_H
#define BLOCKPULL_COPY_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;

/* Begins a walk over what is owed: JOB_COPYING copies, JOB_PROVING only looks. */
void cursor_start(struct bpull_disk *disk);
/* A job that was stopped goes on: a cursor that failed begins again. */
void cursor_go_on(struct bpull_disk *disk);
/* For progress: how many guest bytes are done, and mostly the offset below which all is. */
uint64_t cursor_position(const struct bpull_disk *disk);
/* The walk has nothing left to look at, and no run or load ahead is in flight. */
bool cursor_is_done(const struct bpull_disk *disk);

#endif
