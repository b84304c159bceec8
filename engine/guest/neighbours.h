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

/* A guest's read from layers below the overlay took took_ns in all. */
void neighbours_note(struct bpull_disk *disk, uint64_t took_ns);
/* Which guest bytes to copy around [lo, hi), at least these. If the base is fast, no more: another
 * read costs less there than copying what may never be wanted. */
struct range neighbours_around(const struct bpull_disk *disk, uint64_t lo, uint64_t hi);
/* Reads from this layer are slow: its bytes should not be read once for the guest and once to be
 * copied. */
bool neighbours_is_slow(const struct bpull_disk *disk, const struct layer *layer);

#endif
