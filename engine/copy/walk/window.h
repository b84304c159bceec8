/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How many copy runs may be in flight, and how long they are. */
#ifndef BLOCKPULL_COPY_WINDOW_H
#define BLOCKPULL_COPY_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct copy_run;

/* Makes the cursor look again, if it may go on: a run ended, or the job changed. */
void cursor_kick(struct bpull_disk *disk);
/* A run of the job begins, or goes on after it has waited. */
void cursor_run_begins(struct bpull_disk *disk, uint64_t now_ns);
/* A run begins to wait for what no guest needs (waits.h): until cursor_run_begins() it does not
 * count as running beside the guest. */
void cursor_run_waits(struct bpull_disk *disk, uint64_t now_ns);
/* A run of the job is over: while a guest is at work the cursor rests before the next one. */
void cursor_run_ends(struct bpull_disk *disk, const struct copy_run *p);
/* Ends the cursor's rest, if its time has come. */
void cursor_wake_rested(struct bpull_disk *disk, uint64_t now_ns);
/* How long a run, or a piece of a cluster, may be by the limits on bytes/s. Bytes, up to
 * RUN_MAX_LEN. */
uint64_t cursor_piece_len(const struct bpull_disk *disk);

/* A guest is at work, and the job gives way to it by rests or by its limit. */
bool cursor_gives_way(const struct bpull_disk *disk);
/* The cursor may begin another run, or go on proving. */
bool cursor_may_go(const struct bpull_disk *disk);
/* It might, if the last members of its convoy were further. */
bool cursor_is_held(const struct bpull_disk *disk);
/* No run is in flight, and nothing but a buffer, or the convoy, keeps the next one from
 * beginning. */
bool cursor_is_ready(const struct bpull_disk *disk);

/* Guest bytes that the next run takes at most. */
uint64_t cursor_run_len(const struct bpull_disk *disk);

#endif
