/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The list of what a job copies first. A second set of these ranges, taken out of `todo`, was
 * rejected: runs put back what they did not finish, and would have to know into which of the two.
 */
#include "engine/copy/walk/first.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/core/ranges/range_set.h"
#include "io/base.h"

bool copy_first_is_sound(const struct bpull_job_options *o)
{
	return o->n_first <= BPULL_FIRST_MAX && (o->first || !o->n_first);
}

/* The end of a range, in whole granules, cut off before it would overflow: no disk is that long. */
static uint64_t end_of(const struct bpull_range *range, uint32_t granule_len)
{
	uint64_t max = round_down(UINT64_MAX, (uint64_t)granule_len);

	if (range->offset >= max || range->length > max - range->offset)
		return max;
	return round_up(range->offset + range->length, (uint64_t)granule_len);
}

int copy_first_open(struct copy_first *first, const struct bpull_job_options *o,
		    uint32_t granule_len)
{
	*first = (struct copy_first){ 0 };
	if (!o->n_first)
		return 0;
	first->items = malloc(o->n_first * sizeof(*first->items));
	if (!first->items)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_first; i++) {
		const struct bpull_range *range = &o->first[i];

		if (range->length)
			first->items[first->n++] =
				(struct range){ round_down(range->offset, (uint64_t)granule_len),
						end_of(range, granule_len) };
	}
	return 0;
}

void copy_first_close(struct copy_first *first)
{
	free(first->items);
	first->items = NULL;
	first->n = first->at = 0;
	first->hint = (struct range){ 0 };
}

/* The walk comes to the range `at`. */
static void begin_item(struct copy_first *first, const struct range_set *todo)
{
	const struct range *item = &first->items[first->at];

	if (first->at < first->n)
		first->here_len = range_set_len_in(todo, item->lo, item->hi);
}

void copy_first_hint(struct copy_first *first, struct range hint)
{
	first->hint = hint;
}

/* Chooses from the list. False: it is over. */
static bool next_item(struct copy_first *first, const struct range_set *todo, struct range *next)
{
	if (first->at == first->n)
		return false;
	if (!first->at && !first->here_len)
		begin_item(first, todo);
	while (!range_set_find(todo, first->items[first->at].lo, first->items[first->at].hi,
			       next)) {
		first->len += first->here_len;
		first->here_len = 0;
		if (++first->at == first->n)
			return false;
		begin_item(first, todo);
	}
	return true;
}

bool copy_first_next(struct copy_first *first, struct range_set *todo, struct range *next)
{
	bool has_hint = first->hint.lo != first->hint.hi;

	if (first->at == first->n && !has_hint)
		return false;
	/* Without room nothing would be taken out of the middle of the set, and the walk would
	 * stand still. */
	if (!range_set_make_room(todo)) {
		first->at = first->n;
		first->hint = (struct range){ 0 };
		return false;
	}
	if (has_hint && !range_set_find(todo, first->hint.lo, first->hint.hi, next)) {
		first->hint = (struct range){ 0 };
		has_hint = false;
	}
	if (!has_hint && !next_item(first, todo, next))
		return false;
	first->is_used = true;
	return true;
}
