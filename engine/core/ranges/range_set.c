/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Ranges in one sorted array with a gap where the last change was. A walk
 * changes the set where it is, so that the gap hardly moves. A tree was
 * rejected: three times the memory for each range. A bitmap of clusters was
 * rejected: 256 MiB for 1 TiB in clusters of 512 bytes, and a coarser one can't
 * forget half a bit.
 */
#include "engine/core/ranges/range_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/base.h"

#define FIRST_ROOM 8u

void range_set_init(struct range_set *set, size_t max)
{
	*set = (struct range_set){ .max = max };
}

void range_set_free(struct range_set *set)
{
	free(set->items);
	range_set_init(set, set->max);
}

void range_set_clear(struct range_set *set)
{
	set->n = set->gap = 0;
}

bool range_set_is_empty(const struct range_set *set)
{
	return !set->n;
}

static struct range *item(const struct range_set *set, size_t i)
{
	return &set->items[i < set->gap ? i : i + (set->room - set->n)];
}

/* Index of the first range that ends behind `off`, or n. */
static size_t first_behind(const struct range_set *set, uint64_t off)
{
	size_t lo = 0, hi = set->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (item(set, mid)->hi > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct range range_set_from(const struct range_set *set, uint64_t off)
{
	size_t i = first_behind(set, off);
	struct range next;

	if (i == set->n)
		return *item(set, 0);
	next = *item(set, i);
	if (next.lo < off && set->n == set->room)
		return *item(set, 0);
	next.lo = MAX(next.lo, off);
	return next;
}

bool range_set_meets(const struct range_set *set, uint64_t lo, uint64_t hi)
{
	size_t i = first_behind(set, lo);

	return lo < hi && i < set->n && item(set, i)->lo < hi;
}

bool range_set_find(const struct range_set *set, uint64_t lo, uint64_t hi, struct range *found)
{
	size_t i = first_behind(set, lo);

	if (lo >= hi || i == set->n || item(set, i)->lo >= hi)
		return false;
	*found = (struct range){ MAX(lo, item(set, i)->lo), MIN(hi, item(set, i)->hi) };
	return true;
}

uint64_t range_set_len_in(const struct range_set *set, uint64_t lo, uint64_t hi)
{
	uint64_t len = 0;

	for (size_t i = first_behind(set, lo); i < set->n && item(set, i)->lo < hi; i++)
		len += MIN(hi, item(set, i)->hi) - MAX(lo, item(set, i)->lo);
	return len;
}

uint64_t range_set_len(const struct range_set *set)
{
	uint64_t len = 0;

	for (size_t i = 0; i < set->n; i++)
		len += item(set, i)->hi - item(set, i)->lo;
	return len;
}

static void move_gap(struct range_set *set, size_t to)
{
	size_t len = set->room - set->n;

	if (to < set->gap)
		memmove(set->items + to + len, set->items + to,
			(set->gap - to) * sizeof(*set->items));
	else if (to > set->gap)
		memmove(set->items + set->gap, set->items + set->gap + len,
			(to - set->gap) * sizeof(*set->items));
	set->gap = to;
}

/* Makes room for one more range. False: there is none. */
static bool grow(struct range_set *set)
{
	size_t room = set->room ? 2 * set->room : FIRST_ROOM;
	struct range *items;

	if (set->n < set->room)
		return true;
	if (room > set->max)
		room = set->max;
	if (room <= set->n)
		return false;
	items = realloc(set->items, room * sizeof(*items));
	if (!items)
		return false;
	set->items = items;
	set->gap = set->n; /* there was no gap */
	set->room = room;
	return true;
}

bool range_set_make_room(struct range_set *set)
{
	return grow(set);
}

static void insert(struct range_set *set, size_t at, struct range range)
{
	move_gap(set, at);
	set->items[set->gap++] = range;
	set->n++;
}

static void drop(struct range_set *set, size_t at, size_t n)
{
	move_gap(set, at);
	set->n -= n;
}

/* There is no room for one more range: the nearer neighbour takes in the bytes between. */
static void widen_neighbour(struct range_set *set, size_t at, uint64_t lo, uint64_t hi)
{
	struct range *before = at ? item(set, at - 1) : NULL;
	struct range *after = at < set->n ? item(set, at) : NULL;

	if (before && (!after || lo - before->hi <= after->lo - hi))
		before->hi = hi;
	else
		after->lo = lo;
}

int range_set_add(struct range_set *set, uint64_t lo, uint64_t hi)
{
	size_t first, last;

	if (lo >= hi)
		return 0;
	/* What touches [lo, hi) becomes one with it. */
	first = lo ? first_behind(set, lo - 1) : 0;
	for (last = first; last < set->n && item(set, last)->lo <= hi; last++)
		;
	if (first == last && !grow(set)) {
		if (!set->n)
			return -ENOMEM;
		widen_neighbour(set, first, lo, hi);
		return 0;
	}
	if (first == last) {
		insert(set, first, (struct range){ lo, hi });
		return 0;
	}
	if (item(set, first)->lo < lo)
		lo = item(set, first)->lo;
	if (item(set, last - 1)->hi > hi)
		hi = item(set, last - 1)->hi;
	drop(set, first + 1, last - first - 1);
	*item(set, first) = (struct range){ lo, hi };
	return 0;
}

void range_set_remove(struct range_set *set, uint64_t lo, uint64_t hi)
{
	size_t first = first_behind(set, lo), last;

	if (lo >= hi || first == set->n)
		return;
	if (item(set, first)->lo < lo && item(set, first)->hi > hi) {
		uint64_t end = item(set, first)->hi;

		if (!grow(set))
			return;
		item(set, first)->hi = lo;
		insert(set, first + 1, (struct range){ hi, end });
		return;
	}
	if (item(set, first)->lo < lo)
		item(set, first++)->hi = lo;
	for (last = first; last < set->n && item(set, last)->hi <= hi; last++)
		;
	if (last < set->n && item(set, last)->lo < hi)
		item(set, last)->lo = hi;
	drop(set, first, last - first);
}

int range_set_copy(struct range_set *set, const struct range_set *from)
{
	range_set_clear(set);
	for (size_t i = 0; i < from->n; i++) {
		int rc = range_set_add(set, item(from, i)->lo, item(from, i)->hi);

		if (rc)
			return rc;
	}
	return 0;
}
