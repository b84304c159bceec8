/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What lies around a read that had to wait for a slow base: the guest will want it soon. */
#ifndef BLOCKPULL_GUEST_NEIGHBOURS_H
#define BLOCKPULL_GUEST_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/ranges/range_set.h"
#include "io/base.h"

struct bpull_disk;
struct layer;

/* A read of what layers below the overlay hold took so long, all in all. */
void neighbours_note(struct bpull_disk *disk, uint64_t took_ns);
/* Guest bytes to be copied around [lo, hi), at least these. Where the base is quick, no more: a
 * read there costs less than copying what may never be wanted. */
struct range neighbours_around(const struct bpull_disk *disk, uint64_t lo, uint64_t hi);
/* What is read of this layer costs, and is not to be read twice. */
bool neighbours_cost(const struct bpull_disk *disk, const struct layer *layer);

#endif
