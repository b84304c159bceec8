/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job copies before the rest, since a guest will want it first: the ranges
 * that the program has named, in its order. It only says where the cursor begins.
 * What is still to be looked at, and what is owed, are sets that the list never
 * changes, so a list that is wrong costs time alone.
 */
#ifndef BLOCKPULL_COPY_FIRST_H
#define BLOCKPULL_COPY_FIRST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/core/ranges/range_set.h"
#include "io/base.h"

struct bpull_job_options;

struct copy_first {
	struct range *items; /* guest bytes, whole granules; owned */
	size_t n, at;        /* the walk is in items[at]; at == n: it has passed them all */
	uint64_t here_len; /* bytes of items[at] that were to be looked at as the walk came there */
	uint64_t len;      /* the sum of that over all items before `at` */
	struct range hint; /* looked at before all items; lo == hi: none */
	bool is_used;      /* copy_first_next() has chosen a range: runs are not in disk order */
};

/* The options' list can be taken. */
bool copy_first_is_sound(const struct bpull_job_options *options);
/* Takes a copy of the options' list, in place of what was there. Granules are those of the overlay,
 * in bytes. 0 or -ENOMEM. */
int copy_first_open(struct copy_first *first, const struct bpull_job_options *options,
		    uint32_t granule_len);
/* Forgets the ranges. How far the walk came in them stays known. */
void copy_first_close(struct copy_first *first);
/* A guest has waited for bytes of this range: a walk looks at it next. Replaces the last hint. */
void copy_first_hint(struct copy_first *first, struct range hint);
/* Chooses the range of `todo` to be looked at next: the hint, or the next item of the list. False:
 * the list is over; it also ends if `todo` has no room to have something taken out of its
 * middle. */
bool copy_first_next(struct copy_first *first, struct range_set *todo, struct range *next);

#endif
