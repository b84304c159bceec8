/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: references that the guest's writes drop (I5).
 *
 *   FRESH    entries changed in memory only
 *   STAGED   the commit under way, or the last one, writes them
 *   WRITTEN  and one before it did: the next barrier makes them durable
 *   -> counted free: refcounts lowered in memory, written by the next batch
 *   -> given back to the file system and used again, once operations that began before
 *   have ended
 *
 * Cut before the lower count is on disk, a count is too high: a leak. Lowering
 * it with the entries' own batch was rejected: counts go to disk before entries
 * do, so a cut between would leave the old entry pointing at a free cluster.
 *
 * What is free is a list in memory: a guest that discards here and there leaves
 * thousands of ranges, more than core/gaps.h is for. Looking for free clusters in the
 * refcount blocks was rejected: see space.c.
 */
#include "formats/qcow2/space/freed.h"

#include <assert.h>
#include <stdlib.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/reftable.h"
#include "io/base.h"
#include "io/file.h"

/* Ranges of clusters. More are not handed out again by this process: they are counted free, so that
 * costs space and leaks none. */
#define REUSABLE_MAX 65536u

static bool append_freed(struct qcow2_freed_list *list, const struct qcow2_freed *item)
{
	struct qcow2_freed *last = list->n ? &list->items[list->n - 1] : NULL;

	if (last && last->first_idx + last->n == item->first_idx && last->reuse == item->reuse) {
		last->n += item->n;
		return true;
	}
	if (list->n == list->cap)
		return false;
	list->items[list->n++] = *item;
	return true;
}

static int reserve_items(struct qcow2_freed_list *list, size_t n)
{
	return array_reserve(&list->items, list->n, n, &list->cap, sizeof(*list->items));
}

int qcow2_freed_make_room(struct qcow2 *q, size_t n)
{
	return reserve_items(&q->freed.fresh, n);
}

void qcow2_freed_add(struct qcow2 *q, uint64_t first_idx, uint64_t n, bool reuse)
{
	append_freed(&q->freed.fresh, &(struct qcow2_freed){ first_idx, n, reuse });
}

static uint64_t n_in(const struct qcow2_freed_list *list, uint64_t cluster_idx)
{
	uint64_t n = 0;

	for (size_t i = 0; i < list->n; i++)
		n += cluster_idx - list->items[i].first_idx < list->items[i].n;
	return n;
}

uint64_t qcow2_freed_pending(const struct qcow2 *q, uint64_t cluster_idx)
{
	const struct qcow2_freed_lists *f = &q->freed;

	return n_in(&f->fresh, cluster_idx) + n_in(&f->staged, cluster_idx) +
	       n_in(&f->written, cluster_idx);
}

bool qcow2_freed_is_fresh(const struct qcow2 *q, uint64_t cluster_idx)
{
	return n_in(&q->freed.fresh, cluster_idx);
}

int qcow2_freed_stage(struct qcow2 *q)
{
	struct qcow2_freed_lists *f = &q->freed;
	struct qcow2_freed_list empty;
	int rc = reserve_items(&f->written, f->staged.n);

	if (rc)
		return rc;
	for (size_t i = 0; i < f->staged.n; i++)
		append_freed(&f->written, &f->staged.items[i]);
	f->staged.n = 0;
	empty = f->staged;
	f->staged = f->fresh;
	f->fresh = empty;
	return 0;
}

void qcow2_freed_free(struct qcow2 *q)
{
	free(q->freed.fresh.items);
	free(q->freed.staged.items);
	free(q->freed.written.items);
	free(q->freed.unused.items);
	free(q->freed.taken.items);
	free(q->freed.reusable.items);
}

bool qcow2_has_freed(const struct layer *layer)
{
	const struct qcow2_freed_lists *f = &qcow2_of(layer)->freed;

	return f->fresh.n || f->staged.n || f->written.n || f->unused.n ||
	       qcow2_of(layer)->unfreed.n;
}

/* Lowers the refcount of the item's first cluster; after the last reference the cluster is free. */
static int lower(struct qcow2 *q, const struct qcow2_freed *item, struct table_need *need)
{
	uint64_t refs;
	int rc = qcow2_ref_get(q, item->first_idx, &refs, need);

	if (rc || !refs) /* a count of 0 can't fall: the audit before the first write found none */
		return rc;
	if (refs == 1 && item->reuse) {
		rc = reserve_items(&q->freed.unused, 1);
		if (!rc)
			append_freed(&q->freed.unused,
				     &(struct qcow2_freed){ item->first_idx, 1, true });
	}
	qcow2_ref_set(q, item->first_idx, 1, refs - 1);
	return 0;
}

/* Takes off the list what is done, so that it may stop anywhere and go on later. */
static int lower_all(struct qcow2 *q, struct qcow2_freed_list *list, struct table_need *need)
{
	while (list->n) {
		struct qcow2_freed *item = &list->items[list->n - 1];

		for (; item->n; item->n--, item->first_idx++) {
			int rc = lower(q, item, need);

			if (rc)
				return rc;
		}
		list->n--;
	}
	return 0;
}

int qcow2_free_unreferenced(struct layer *layer, bool with_last, struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	int rc = qcow2_free_replaced(q, need);

	if (!rc)
		rc = lower_all(q, &q->freed.written, need);
	return rc || !with_last ? rc : lower_all(q, &q->freed.staged, need);
}

static int by_first_idx(const void *a, const void *b)
{
	const struct qcow2_freed *x = a, *y = b;

	return x->first_idx < y->first_idx ? -1 : x->first_idx > y->first_idx;
}

/* Sorts the ranges and joins those that touch. */
static void tidy(struct qcow2_freed_list *list)
{
	size_t n = list->n;

	if (!n)
		return;
	qsort(list->items, n, sizeof(*list->items), by_first_idx);
	list->n = 1;
	for (size_t i = 1; i < n; i++) {
		struct qcow2_freed item = list->items[i]; /* append_freed() may write over it */

		append_freed(list, &item);
	}
}

static void make_reusable(struct qcow2 *q, const struct qcow2_freed *item)
{
	struct qcow2_freed_list *list = &q->freed.reusable;

	if (list->n < REUSABLE_MAX && !reserve_items(list, 1))
		append_freed(list, item);
}

bool qcow2_take_reusable(struct qcow2 *q, uint64_t len, uint64_t *host_off, uint64_t *got)
{
	struct qcow2_freed_list *list = &q->freed.reusable;
	struct qcow2_freed *item = list->n ? &list->items[list->n - 1] : NULL;
	uint64_t n;

	if (!item)
		return false;
	n = MIN(item->n, len >> q->cluster_bits);
	*host_off = item->first_idx << q->cluster_bits;
	*got = n << q->cluster_bits;
	item->first_idx += n;
	item->n -= n;
	list->n -= !item->n;
	return true;
}

bool qcow2_take_freed(struct layer *layer)
{
	struct qcow2_freed_lists *f = &qcow2_of(layer)->freed;
	struct qcow2_freed_list empty = f->taken;

	assert(!empty.n);
	f->taken = f->unused;
	f->unused = empty;
	tidy(&f->taken);
	return f->taken.n;
}

/* On any thread: no other call looks at the list before reuse_freed(). */
void qcow2_discard_freed(struct layer *layer)
{
	const struct qcow2 *q = qcow2_of(layer);
	const struct qcow2_freed_list *list = &q->freed.taken;

	for (size_t i = 0; i < list->n; i++)
		file_discard(layer->file, list->items[i].first_idx << q->cluster_bits,
			     list->items[i].n << q->cluster_bits);
}

void qcow2_reuse_freed(struct layer *layer)
{
	struct qcow2 *q = qcow2_of(layer);
	struct qcow2_freed_list *list = &q->freed.taken;

	if (q->freed.reusable.n + list->n > REUSABLE_MAX)
		tidy(&q->freed.reusable);
	for (size_t i = 0; i < list->n; i++) {
		uint64_t host_off = list->items[i].first_idx << q->cluster_bits;
		uint64_t len = list->items[i].n << q->cluster_bits;

		if (layer->zero_from != UINT64_MAX) /* the discard may have been refused */
			layer->zero_from = MAX(layer->zero_from, host_off + len);
		make_reusable(q, &list->items[i]);
	}
	list->n = 0;
}
