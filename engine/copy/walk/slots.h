/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The engine's buffers where several disks copy: how many one of them may hold. Writes that do not
 * end keep their buffers; if one disk could hold all, the others would wait for its device.
 */
#ifndef BLOCKPULL_COPY_SLOTS_H
#define BLOCKPULL_COPY_SLOTS_H

#include <stdbool.h>

struct bpull_disk;
struct bpull_engine;

/* Once a round: counts the disks that copy, in a job's walk or behind a guest's reads, or read
 * back. */
void slots_look(struct bpull_engine *engine);
/* A buffer is free, and the disk has its share not yet. */
bool slots_may_take(const struct bpull_disk *disk);

#endif
