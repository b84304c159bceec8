/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The ends of all ranges cut the disk into cells. Ranges are taken by time, and each
 * takes what of its cells no earlier one took. `next` leads from a cell to the first
 * one from there on that is free, by ever shorter ways, so that any overlap of any
 * number of ranges takes no more than sorting does.
 */
#include "tools/trace/order.h"

#include <errno.h>
#include <stdlib.h>

struct order {
	struct trace_range *ranges;
	size_t n_ranges;
	uint64_t *ends; /* sorted: cell i is [ends[i], ends[i + 1]) */
	size_t n_ends;
	size_t *next;
};

static int order_by_time(const void *a, const void *b)
{
	const struct trace_range *x = a, *y = b;

	if (x->us != y->us)
		return x->us < y->us ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

static int order_by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int order_open(struct order *o, const struct trace *traces, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		o->n_ranges += traces[i].n;
	o->ranges = calloc(o->n_ranges + 1, sizeof(*o->ranges));
	o->ends = calloc(2 * o->n_ranges + 1, sizeof(*o->ends));
	o->next = calloc(2 * o->n_ranges + 1, sizeof(*o->next));
	if (!o->ranges || !o->ends || !o->next)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < traces[i].n; k++)
			o->ranges[at++] = traces[i].ranges[k];
	for (size_t i = 0; i < at; i++) {
		o->ends[2 * i] = o->ranges[i].off;
		o->ends[2 * i + 1] = o->ranges[i].off + o->ranges[i].len;
	}
	qsort(o->ranges, at, sizeof(*o->ranges), order_by_time);
	qsort(o->ends, 2 * at, sizeof(*o->ends), order_by_value);
	for (size_t i = 0; i < 2 * at; i++)
		if (!i || o->ends[i] != o->ends[o->n_ends - 1])
			o->ends[o->n_ends++] = o->ends[i];
	for (size_t i = 0; i < o->n_ends; i++)
		o->next[i] = i;
	return 0;
}

static size_t order_next_free(size_t *next, size_t i)
{
	while (next[i] != i) {
		next[i] = next[next[i]];
		i = next[i];
	}
	return i;
}

static size_t order_cell(const struct order *o, uint64_t off)
{
	const uint64_t *found = bsearch(&off, o->ends, o->n_ends, sizeof(*o->ends), order_by_value);

	return (size_t)(found - o->ends); /* each range's ends are among them */
}

static int order_take(struct order *o, const struct trace_range *range, struct trace *out)
{
	uint64_t end = range->off + range->len;
	size_t i = order_next_free(o->next, order_cell(o, range->off));

	while (o->ends[i] < end) {
		int rc = trace_add(out, &(struct trace_range){ .off = o->ends[i],
							       .len = o->ends[i + 1] - o->ends[i],
							       .us = range->us });

		if (rc)
			return rc;
		o->next[i] = i + 1;
		i = order_next_free(o->next, i);
	}
	return 0;
}

int trace_merge(const struct trace *traces, size_t n, struct trace *out)
{
	struct order o = { 0 };
	int rc = order_open(&o, traces, n);

	*out = (struct trace){ 0 };
	for (size_t i = 0; !rc && i < o.n_ranges; i++)
		rc = order_take(&o, &o.ranges[i], out);
	free(o.ranges);
	free(o.ends);
	free(o.next);
	if (rc)
		trace_free(out);
	return rc;
}
