/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: what the disks of one file lack, over all of their L2 tables.
 *
 * L2 tables are told apart by their offset: one that several L1 entries refer
 * to is filled once, and whatever it refers to counts once for each of them.
 * L1 entries behind a snapshot's disk hold VM state: never looked at as disk,
 * but counted, since a table reached from there has that reference, too.
 */
#include "formats/qcow2/snapshots/map.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/tables/map.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"

static void add_table(struct qcow2_snapshots *s, uint64_t l2_off, uint64_t guest_len,
		      bool is_guests)
{
	s->tables[s->n_tables++] = (struct qcow2_view_table){ l2_off, 1, guest_len, is_guests, -1 };
}

static int by_table(const void *a, const void *b)
{
	const struct qcow2_view_table *x = a, *y = b;

	return x->l2_off < y->l2_off ? -1 : x->l2_off > y->l2_off;
}

/* Leaves one of each table, with the number of times that it was there as its weight. */
static void merge_tables(struct qcow2_snapshots *s)
{
	uint32_t n = 0;

	qsort(s->tables, s->n_tables, sizeof(*s->tables), by_table);
	for (uint32_t i = 1; i < s->n_tables; i++) {
		if (s->tables[i].l2_off != s->tables[n].l2_off) {
			s->tables[++n] = s->tables[i];
			continue;
		}
		s->tables[n].weight++;
		s->tables[n].is_guests |= s->tables[i].is_guests;
		s->tables[n].guest_len = MAX(s->tables[n].guest_len, s->tables[i].guest_len);
	}
	s->n_tables = n + 1;
}

int qcow2_snapshots_find_tables(struct qcow2 *q, uint64_t l1_idx, struct table_need *need)
{
	uint64_t guest_off = l1_idx * qcow2_l2_span(q);
	struct qcow2_snapshots *s = q->snapshots;

	if (s->tables_l1_idx == l1_idx)
		return 0;
	s->tables_l1_idx = UINT64_MAX;
	s->n_tables = 0;
	if (l1_idx < q->hdr.l1_size) {
		struct table *l1;
		uint32_t byte;
		int rc = qcow2_l1_slice(q, l1_idx, &l1, &byte, need);

		if (rc)
			return rc;
		add_table(s, be64(l1->bytes + byte) & QCOW2_OFF_MASK,
			  guest_off < q->layer.guest_len ? q->layer.guest_len : 0, true);
	}
	for (uint32_t i = 0; i < s->n_snapshots; i++) {
		const struct qcow2_view *view = &s->snapshots[i];

		if (l1_idx < view->n_l1)
			add_table(s, be64(view->l1 + 8 * l1_idx) & QCOW2_OFF_MASK,
				  guest_off < view->guest_len ? view->guest_len : 0, false);
	}
	if (!s->n_tables) /* behind all disks */
		return -EINVAL;
	merge_tables(s);
	s->tables_l1_idx = l1_idx;
	return 0;
}

uint64_t qcow2_snapshots_boundary(const struct qcow2 *q, uint64_t guest_off, uint64_t end)
{
	const struct qcow2_snapshots *s = q->snapshots;

	for (uint32_t i = 0; i < s->n_tables; i++)
		if (qcow2_view_sees(&s->tables[i], guest_off))
			end = MIN(end, round_up(s->tables[i].guest_len, q->layer.granule_len));
	return end;
}

int qcow2_view_entry(struct qcow2 *q, const struct qcow2_view_table *table, uint64_t guest_off,
		     struct qcow2_entry *entry, struct table_need *need)
{
	unsigned sub = (guest_off - qcow2_cluster_start(q, guest_off)) / q->layer.granule_len;
	struct table *l2;
	uint32_t byte;
	int rc = qcow2_l2_slice_to_change(q, table->l2_off, guest_off, &l2, &byte, need);

	return rc ? rc : qcow2_entry_read(q, l2->bytes + byte, sub, entry);
}

/* *lacks: the table has no entry for this granule. */
static int table_lacks(struct qcow2 *q, const struct qcow2_view_table *table, uint64_t guest_off,
		       bool *lacks, struct table_need *need)
{
	struct qcow2_entry entry;
	int rc;

	*lacks = true;
	if (!table->l2_off)
		return 0;
	rc = qcow2_view_entry(q, table, guest_off, &entry, need);
	*lacks = !rc && entry.kind == EXTENT_UNALLOCATED;
	return rc;
}

/* *any: some table lacks the granule at guest_off. *same: each table lacks it, or not, as it did
 * the granule before in the same cluster; true for the first granule of all (`begin`) and of each
 * cluster. (The copies of one cluster all get the same subclusters.) */
static int granule_lacks(struct qcow2 *q, uint64_t guest_off, bool begin, bool *any, bool *same,
			 struct table_need *need)
{
	struct qcow2_snapshots *s = q->snapshots;
	bool inside = guest_off & (q->layer.cluster_len - 1);

	*any = false;
	*same = true;
	for (uint32_t i = 0; i < s->n_tables; i++) {
		struct qcow2_view_table *table = &s->tables[i];
		bool lacks;
		int rc;

		if (!qcow2_view_sees(table, guest_off))
			continue;
		rc = table_lacks(q, table, guest_off, &lacks, need);
		if (rc)
			return rc;
		*any |= lacks;
		if (!begin && inside && lacks != (table->copy >= 0))
			*same = false;
		table->copy = lacks ? 0 : -1;
	}
	return 0;
}

/* A disk without a table for guest_off lacks all that it reaches there. With subclusters that is no
 * answer where other disks have a table: granule_lacks() must compare them. */
static bool lacks_all(const struct qcow2 *q, uint64_t guest_off)
{
	const struct qcow2_snapshots *s = q->snapshots;

	if (s->tables[0].l2_off || !qcow2_view_sees(&s->tables[0], guest_off))
		return false;
	return q->l2_entry_len == 8 || s->n_tables == 1;
}

int qcow2_map_backed(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		     struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t l1_idx = guest_off / qcow2_l2_span(q), end;
	bool any, same, first;
	int rc;

	if (!q->snapshots)
		return qcow2_map(layer, guest_off, len, out, need);
	*out = (struct extent){ .kind = EXTENT_UNALLOCATED, .guest_off = guest_off };
	rc = qcow2_snapshots_find_tables(q, l1_idx, need);
	if (rc)
		return rc;
	end = MIN(guest_off + len, (l1_idx + 1) * qcow2_l2_span(q));
	end = qcow2_snapshots_boundary(q, guest_off, end);
	out->len = end - guest_off;
	if (lacks_all(q, guest_off))
		return 0;
	end = MIN(end, round_down(guest_off, qcow2_l2_slice_span(q)) + qcow2_l2_slice_span(q));
	rc = granule_lacks(q, guest_off, true, &first, &same, need);
	if (rc)
		return rc;
	out->kind = first ? EXTENT_UNALLOCATED : EXTENT_DATA;
	for (uint64_t at = round_down(guest_off, layer->granule_len) + layer->granule_len; at < end;
	     at += layer->granule_len) {
		rc = granule_lacks(q, at, false, &any, &same, need);
		if (rc == -EUCLEAN || any != first || !same) {
			end = at;
			break;
		}
		if (rc)
			return rc;
	}
	out->len = end - guest_off;
	return 0;
}
