/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Starting copy runs. */
#ifndef BLOCKPULL_COPY_START_H
#define BLOCKPULL_COPY_START_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct copy_run;

/* These three begin a run of the job: 0 or -ENOMEM. guest_off and len are whole granules of the
 * overlay, except in a job that copies into a lower image. */

/* Begins a run that clones [guest_off, guest_off + len). */
int copy_run_start_clone(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Begins a run that makes zero entries, for at most PUBLISH_MAX_GRANULES. */
int copy_run_start_zero(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Begins a run that copies at most len bytes from guest_off on. Takes over the buffer, unless it
 * fails. */
int copy_run_start(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *buf);
/* Begins runs that copy what the guest has read of [guest_off, end), as far as buffers are free and
 * no other run has that range. */
void copy_run_start_on_read(struct bpull_disk *disk, uint64_t guest_off, uint64_t end);
/* Begins one run that copies from guest_off, a granule's first byte, up to `end`, or less, but at
 * least up to min_end. False: no buffer is free, or other operations have clusters of that
 * range. */
bool copy_run_start_for_reader(struct bpull_disk *disk, uint64_t guest_off, uint64_t end,
			       uint64_t min_end);
/* Makes a run that was just begun and that ends at guest_off longer, up to `end` at most. False: as
 * above, or the run is as long as it may be. */
bool copy_run_extend(struct copy_run *run, uint64_t guest_off, uint64_t end);

#endif
