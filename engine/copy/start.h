/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Starting copy runs. */
#ifndef BLOCKPULL_COPY_START_H
#define BLOCKPULL_COPY_START_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct copy_run;

/* Begins to clone it. -ENOMEM. */
int copy_run_start_clone(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Gives a run of clusters entries that read zeros; at most PUBLISH_MAX_GRANULES. -ENOMEM. */
int copy_run_start_zero(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Begins copying a run from guest_off on; at most len bytes, overlay cluster aligned. Takes over
 * the buffer. -ENOMEM. */
int copy_run_start(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *buf);
/* Begins copying what the guest has read of [guest_off, end), as far as buffers are free and no run
 * has it. */
void copy_run_start_on_read(struct bpull_disk *disk, uint64_t guest_off, uint64_t end);
/* Begins one such run at guest_off, whole granules, up to `end`, or at least up to min_end. False:
 * no buffer is free, or others have clusters of that. */
bool copy_run_start_for_reader(struct bpull_disk *disk, uint64_t guest_off, uint64_t end,
			       uint64_t min_end);
/* Makes one longer, up to `end` at most, that was just begun and ends at guest_off. False:
 * likewise, or it is as long as it may be. */
bool copy_run_extend(struct copy_run *run, uint64_t guest_off, uint64_t end);

#endif
