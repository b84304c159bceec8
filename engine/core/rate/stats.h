/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a disk's guest asked for, and how long that took. */
#ifndef BLOCKPULL_CORE_STATS_H
#define BLOCKPULL_CORE_STATS_H

#include <stdint.h>

#include "engine/blockpull.h"
#include "io/base.h"

/* A request for len bytes ended after took_ns, with 0 or -errno. */
void stats_note_end(struct bpull_io_stats *stats, int error, uint64_t len, uint64_t took_ns);

#endif
