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
	size_t n, at;        /* `at` is the one that the walk is in; n: it is behind them all */
	uint64_t here_len;   /* bytes that the walk had to look at in it when it came there */
	uint64_t len;        /* the same of all before it */
	struct range hint;   /* comes before all of them; lo == hi: nothing does */
	bool is_used;        /* the walk has begun elsewhere than at its front */
};

/* The options' list can be taken. */
bool copy_first_is_sound(const struct bpull_job_options *options);
/* Takes a copy of the options' list, in place of what was there. Granules are those of the overlay,
 * in bytes. 0 or -ENOMEM. */
int copy_first_open(struct copy_first *first, const struct bpull_job_options *options,
		    uint32_t granule_len);
/* Forgets the ranges. How far the walk came in them stays known. */
void copy_first_close(struct copy_first *first);
/* A guest waits for what lies around there: it is next, if a job copies. */
void copy_first_hint(struct copy_first *first, struct range hint);
/* What of `todo` is to be looked at next by the list. False: the list is over. Makes room in `todo`
 * for what is taken out next; where there is none the list is over, too. */
bool copy_first_next(struct copy_first *first, struct range_set *todo, struct range *next);

#endif
