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
	struct range *items; /* room for `room` ranges, the gap included */
	size_t n, room, max; /* ranges in the set; allocated; allowed */
	size_t gap;          /* index of the first unused item; the gap is room - n long */
};

/* An empty set that takes no more than max ranges, at least 2. It takes no memory before the first
 * range. Free with range_set_free(). */
void range_set_init(struct range_set *set, size_t max);
void range_set_free(struct range_set *set);

/* Adds [lo, hi). -ENOMEM only if the set has no memory at all yet; then nothing has changed. */
int range_set_add(struct range_set *set, uint64_t lo, uint64_t hi);
/* Takes [lo, hi) out, unless that would make two ranges of one and there is no room for both. */
void range_set_remove(struct range_set *set, uint64_t lo, uint64_t hi);
/* Makes the set hold what `from` does, at least. -ENOMEM as above. */
int range_set_copy(struct range_set *set, const struct range_set *from);
void range_set_clear(struct range_set *set);

bool range_set_is_empty(const struct range_set *set);
/* The first part of the set at or behind `off`. If there is none, or if it is in the middle of a
 * range and there is no room to take something out of that, the set's first range. The set must not
 * be empty. */
struct range range_set_from(const struct range_set *set, uint64_t off);
/* How many bytes are in the set. */
uint64_t range_set_len(const struct range_set *set);
/* The set holds at least one byte of [lo, hi). */
bool range_set_meets(const struct range_set *set, uint64_t lo, uint64_t hi);
/* *found: the first part of the set within [lo, hi). False: there is none. */
bool range_set_find(const struct range_set *set, uint64_t lo, uint64_t hi, struct range *found);
/* How many bytes of [lo, hi) are in the set. */
uint64_t range_set_len_in(const struct range_set *set, uint64_t lo, uint64_t hi);
/* Makes room for one more range, so that the next range_set_remove() takes out all of its range.
 * False: there is none. */
bool range_set_make_room(struct range_set *set);

#endif
