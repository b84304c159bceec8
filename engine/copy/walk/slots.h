/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How many of the engine's buffers one disk may hold. Writes that do not end keep their buffers: if
 * one disk could hold all, the others would wait for its device.
 */
#ifndef BLOCKPULL_COPY_SLOTS_H
#define BLOCKPULL_COPY_SLOTS_H

#include <stdbool.h>

struct bpull_disk;
struct bpull_engine;

/* Once a round: counts the disks that want buffers: for a job that copies or reads back, or for
 * copies that follow a guest's reads. */
void slots_look(struct bpull_engine *engine);
/* A buffer is free, and the disk holds less than its share. */
bool slots_may_take(const struct bpull_disk *disk);

#endif
