/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Asking the kernel to write back early what was copied through the page cache. */
#ifndef BLOCKPULL_COPY_WRITEBACK_H
#define BLOCKPULL_COPY_WRITEBACK_H

#include <stdint.h>

#include "io/base.h"

struct bpull_disk;

/* Host bytes written through the page cache since the last write-back: how many, and between which
 * offsets. */
struct writeback_range {
	uint64_t len, lo, hi;
};

/* The job has written these bytes of the overlay's data. Begins to write back all that was noted
 * once it is enough. */
void writeback_note(struct bpull_disk *disk, uint64_t host_off, uint64_t len);

#endif
