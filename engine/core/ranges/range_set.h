/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A set of byte ranges that may hold too much, never too little.
 *
 * It says what is still owed: what a walk has still to look at, or what is not
 * proven yet. Its memory is bounded. When a new gap between two ranges finds no
 * room, the gap is not made: the set holds more than it was told, and its owner
 * looks at some bytes again.
 */
#ifndef BLOCKPULL_CORE_RANGE_SET_H
#define BLOCKPULL_CORE_RANGE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base.h"

struct range {
	uint64_t lo, hi; /* [lo, hi) */
};

/* Sorted, disjoint, none touching the next. A gap buffer: most changes are where the last one
 * was. */
struct range_set {
	struct range *items; /* `room` of them, the gap included */
	size_t n, room, max;
	size_t gap; /* index of the first unused item; the gap is room - n long */
};

/* An empty set that takes no more than max ranges, at least 2. It takes no memory before the first
 * range. Free with range_set_free(). */
void range_set_init(struct range_set *set, size_t max);
void range_set_free(struct range_set *set);

/* Puts [lo, hi) in. -ENOMEM only where the set has no memory at all yet; then nothing changed. */
int range_set_add(struct range_set *set, uint64_t lo, uint64_t hi);
/* Takes [lo, hi) out, as far as there is room for the gap. */
void range_set_remove(struct range_set *set, uint64_t lo, uint64_t hi);
/* Makes the set hold what `from` does, at least. -ENOMEM as above. */
int range_set_copy(struct range_set *set, const struct range_set *from);
void range_set_clear(struct range_set *set);

bool range_set_is_empty(const struct range_set *set);
/* Its lowest range at or behind `off`, cut off there; where there is none, or no room to take
 * something out of the middle of a range, its lowest. The set is not empty. */
struct range range_set_from(const struct range_set *set, uint64_t off);
/* Bytes in it. */
uint64_t range_set_len(const struct range_set *set);
/* It holds a byte of [lo, hi). */
bool range_set_meets(const struct range_set *set, uint64_t lo, uint64_t hi);
/* What of it is the lowest in [lo, hi), cut there. False: nothing. */
bool range_set_find(const struct range_set *set, uint64_t lo, uint64_t hi, struct range *found);
/* Bytes of it in [lo, hi). */
uint64_t range_set_len_in(const struct range_set *set, uint64_t lo, uint64_t hi);
/* Gets memory for one more range, so that the next removal takes out all that it is to. False:
 * there is no room. */
bool range_set_make_room(struct range_set *set);

#endif
