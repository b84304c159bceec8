/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How much space a pull will need, and whether its image may be written. */
#ifndef BLOCKPULL_JOB_MEASURE_H
#define BLOCKPULL_JOB_MEASURE_H

#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct bpull_measure;
struct err;
struct layer;
struct plan_walk;

/* Bytes that a pull with compression may need more than one without: space for compressed clusters
 * is taken several at a time, and the last is not used up. */
#define COMPRESSION_SPARE_LEN (1 * MiB)

/* Refuses a pull whose image, or data file, is a block device too small for what it may need, and
 * for spare_len bytes more. Blocking, read-only. 0, -ENOSPC with a sentence, or -errno. */
int measure_device(struct bpull_disk *disk, uint64_t spare_len, struct err *err);
/* Walks the chain and fills *out. Blocking. 0 or -errno with a sentence. */
int measure_walk(struct plan_walk *w, struct bpull_measure *out, struct err *err);

/* -EROFS and a sentence where the image may not be written. */
int measure_refuse_read_only(const struct layer *overlay, struct err *err);

#endif
