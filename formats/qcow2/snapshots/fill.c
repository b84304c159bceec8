/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: giving copied data to every L2 table that lacks it, in images with
 * internal snapshots or subclusters: new tables, and entries for the copies that
 * copies.c finds.
 *
 * Crash order is that of tables/tables.c: refcounts (all of a copy's references at
 * once) and new tables, barrier, then L2 entries, the active L1's and the
 * snapshots'. Cut in between, a refcount is too high: a leak.
 */
#include "formats/qcow2/snapshots/fill.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/copies.h"
#include "formats/qcow2/snapshots/map.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/compressed_space.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/space.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"

/* ---- new tables ---- */

/* *lacks: the disk reaches guest_off and has no L2 table for it. *seen_end: how far the disk
 * reaches inside the range of that table. `disk` is 0 for the guest's, i + 1 for snapshot i's. */
static int lacks_table(struct qcow2 *q, uint32_t disk, uint64_t guest_off, bool *lacks,
		       uint64_t *seen_end, struct table_need *need)
{
	uint64_t l1_idx = guest_off / qcow2_l2_span(q), guest_len = q->layer.guest_len;
	const struct qcow2_view *view = disk ? &q->snapshots->snapshots[disk - 1] : NULL;
	struct table *l1;
	uint32_t byte;
	int rc = 0;

	if (view)
		guest_len = view->guest_len;
	*lacks = guest_off < guest_len;
	*seen_end = MIN(guest_len, (l1_idx + 1) * qcow2_l2_span(q));
	if (!*lacks)
		return 0;
	if (view) {
		*lacks = !(be64(view->l1 + 8 * l1_idx) & QCOW2_OFF_MASK);
		return 0;
	}
	rc = qcow2_l1_slice(q, l1_idx, &l1, &byte, need);
	*lacks = !rc && !(be64(l1->bytes + byte) & QCOW2_OFF_MASK);
	return rc;
}

static void set_l1(struct qcow2 *q, uint32_t disk, uint64_t l1_idx, uint64_t entry)
{
	struct table_need need;
	struct table *l1;
	uint32_t byte;
	int rc;

	if (disk) {
		struct qcow2_view *view = &q->snapshots->snapshots[disk - 1];

		put_be64(view->l1 + 8 * l1_idx, entry);
		view->n_changes++;
		if (view->dirty_lo == view->dirty_hi)
			view->dirty_lo = view->dirty_hi = l1_idx;
		view->dirty_lo = MIN(view->dirty_lo, l1_idx);
		view->dirty_hi = MAX(view->dirty_hi, l1_idx + 1);
		return;
	}
	rc = qcow2_l1_slice(q, l1_idx, &l1, &byte, &need);
	assert(!rc);
	put_be64(l1->bytes + byte, entry);
	table_mark_dirty(q->layer.cache, l1, byte, 8, STAGE_ROOT);
}

/* Space for a table, not counted yet, with the slices of the table in memory. */
static int new_snapshot_l2(struct qcow2 *q, uint64_t guest_off, uint64_t *l2_off,
			   struct table_need *need)
{
	int rc = qcow2_reserve_table(q, l2_off, need);

	return rc ? rc : qcow2_new_l2_slices(q, *l2_off, guest_off);
}

/* Gives one new table to the disk `first` and to those after it that lack one and reach as far: an
 * entry that one disk needs must not lie behind the end of another, which would show it if it
 * grew. */
static int share_new_table(struct qcow2 *q, uint32_t first, uint64_t guest_off,
			   struct table_need *need)
{
	uint32_t n_disks = q->snapshots->n_snapshots + 1;
	uint64_t l1_idx = guest_off / qcow2_l2_span(q), weight = 0, seen_end, end, entry, l2_off;
	bool lacks;
	int rc = new_snapshot_l2(q, guest_off, &l2_off, need);

	if (!rc) /* again: loading another table may have evicted this one */
		rc = lacks_table(q, 0, guest_off, &lacks, &end, need);
	if (!rc)
		rc = lacks_table(q, first, guest_off, &lacks, &seen_end, need);
	if (rc)
		return rc;
	for (unsigned pass = 0; pass < 2; pass++) {
		uint64_t n = 0;

		entry = l2_off | (weight == 1 ? QCOW2_COPIED : 0);
		for (uint32_t i = first; i < n_disks && n < qcow2_max_shared(q); i++) {
			rc = lacks_table(q, i, guest_off, &lacks, &end, need);
			assert(!rc);
			if (!lacks || end != seen_end)
				continue;
			n++;
			if (pass)
				set_l1(q, i, l1_idx, entry);
		}
		weight = n;
	}
	qcow2_ref_set(q, l2_off >> q->cluster_bits, 1, weight);
	q->snapshots->tables_l1_idx = UINT64_MAX;
	return 0;
}

/* Gives every disk that sees guest_off an L2 table. */
static int link_at(struct qcow2 *q, uint64_t guest_off, struct table_need *need)
{
	struct qcow2_snapshots *s = q->snapshots;
	int rc = qcow2_snapshots_find_tables(q, guest_off / qcow2_l2_span(q), need);

	if (rc || s->tables[0].l2_off)
		return rc;
	for (uint32_t i = 0; !rc && i <= s->n_snapshots; i++) {
		uint64_t end;
		bool lacks;

		rc = lacks_table(q, i, guest_off, &lacks, &end, need);
		if (!rc && lacks)
			rc = share_new_table(q, i, guest_off, need);
	}
	return rc;
}

int qcow2_snapshots_alloc_tables(struct qcow2 *q, uint64_t guest_off, uint64_t len,
				 struct table_need *need)
{
	uint64_t end = guest_off + len;
	int rc = 0;

	for (uint64_t at = guest_off, next; !rc && at < end; at = next) {
		next = round_down(at, qcow2_l2_span(q)) + qcow2_l2_span(q);
		rc = link_at(q, at, need);
	}
	return rc;
}

/* ---- entries ---- */

/* The references that a new copy must have on disk before its entries (I2). Entries and L1 entries
 * of one batch become durable in any order: the guest's disk may read through a table that it has
 * left in this batch. What that counts falls with the table's own count. */
static uint64_t new_weight(const struct qcow2_snapshots *s, unsigned copy)
{
	return s->copy_weight[copy] + (s->departed_target == (int)copy);
}

static void drop_departed(struct qcow2 *q, const struct mapping *map, uint64_t host_off)
{
	uint64_t len = map->comp_len ? map->comp_len : 1;

	if (q->snapshots->departed_target == (int)map->copy)
		qcow2_freed_add(q, host_off >> q->cluster_bits,
				((host_off + len - 1) >> q->cluster_bits) -
					(host_off >> q->cluster_bits) + 1,
				!map->comp_len);
}

/* Everything set_copy() will want is in memory, and the entries are as copy_target() saw
 * them. */
static int prepare_map(struct qcow2 *q, const struct mapping *map, struct table_need *need)
{
	struct qcow2_snapshots *s = q->snapshots;
	uint64_t end = map->guest_off + map->len;

	for (uint64_t at = map->guest_off; at < end; at += qcow2_len_in_cluster(q, at, end)) {
		uint64_t host_off = qcow2_mapped_host_off(q, map, at);
		int rc = qcow2_find_copies(q, at, need);

		if (rc)
			return rc;
		if (map->copy >= s->n_copies)
			return -EEXIST;
		if (map->is_zero) /* an entry in every table that lacks it, no copies */
			continue;
		if (s->copy_host_off[map->copy] && s->copy_host_off[map->copy] != host_off)
			return -EEXIST;
		if (map->comp_len)
			rc = qcow2_comp_ref_need(q, map, new_weight(s, map->copy), need);
		else if (!qcow2_is_external(q))
			rc = qcow2_ref_need(q, host_off, q->layer.cluster_len, need);
		if (rc)
			return rc;
	}
	return 0;
}

/* Changes one entry for [guest_off, guest_off + len) of its cluster. */
static void set_entry(struct qcow2 *q, uint8_t *bytes, uint64_t guest_off, uint64_t len,
		      uint64_t host_entry)
{
	uint64_t first = (guest_off - qcow2_cluster_start(q, guest_off)) / q->layer.granule_len;
	uint64_t n = len / q->layer.granule_len, bits;

	if (q->l2_entry_len == 8 || host_entry & QCOW2_COMPRESSED) {
		put_be64(bytes, host_entry ? host_entry : QCOW2_ZERO);
		return;
	}
	bits = ((UINT64_C(1) << n) - 1) << first;
	if (!host_entry)
		bits <<= QCOW2_SUBCLUSTERS;
	else if (!(be64(bytes) & QCOW2_OFF_MASK))
		put_be64(bytes, host_entry);
	put_be64(bytes + 8, be64(bytes + 8) | bits);
}

/* Entries of every table that takes this copy, and the references they are. */
static void set_copy(struct qcow2 *q, const struct mapping *map, uint64_t at, uint64_t len)
{
	struct qcow2_snapshots *s = q->snapshots;
	uint64_t host_off = qcow2_mapped_host_off(q, map, at), entry = 0;
	struct table_need need;
	int rc = qcow2_find_copies(q, at, &need);

	assert(!rc && map->copy < s->n_copies);
	if (map->comp_len)
		entry = qcow2_comp_entry(q, map);
	else if (!map->is_zero)
		entry = host_off | (new_weight(s, map->copy) == 1 ? QCOW2_COPIED : 0);
	for (uint32_t i = 0; i < s->n_tables; i++) {
		struct table *l2;
		uint32_t byte;

		if (s->tables[i].copy < 0 || (!map->is_zero && s->tables[i].copy != (int)map->copy))
			continue;
		rc = qcow2_l2_slice_to_change(q, s->tables[i].l2_off, at, &l2, &byte, &need);
		assert(!rc);
		set_entry(q, l2->bytes + byte, at, len, entry);
		table_mark_dirty(q->layer.cache, l2, byte, q->l2_entry_len, STAGE_TABLE);
	}
	if (map->is_zero || s->copy_host_off[map->copy] || qcow2_is_external(q))
		return;
	if (map->comp_len)
		qcow2_comp_ref_raise(q, map, new_weight(s, map->copy));
	else
		qcow2_ref_set(q, host_off >> q->cluster_bits, 1, new_weight(s, map->copy));
	drop_departed(q, map, map->comp_len ? map->host_off : host_off);
}

static int prepare_copies(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
			  struct table_need *need)
{
	uint64_t n_clusters = 0;
	int rc;

	for (size_t i = 0; i < n_maps; i++)
		n_clusters += maps[i].len / q->layer.cluster_len + 2;
	rc = qcow2_freed_make_room(q, n_clusters);
	for (size_t i = 0; !rc && i < n_maps; i++)
		rc = maps[i].is_zero && q->hdr.version < 3 ? -ENOTSUP
							   : prepare_map(q, &maps[i], need);
	return rc;
}

/* The last copy first: copies are numbered by the tables that still lack the range, and taking the
 * last one away leaves the others' numbers as they are. */
static void set_copies(struct qcow2 *q, const struct mapping *maps, size_t n_maps)
{
	unsigned n_copies = 0;

	for (size_t i = 0; i < n_maps; i++)
		n_copies = MAX(n_copies, maps[i].copy + 1);
	for (unsigned copy = n_copies; copy-- > 0;)
		for (size_t i = 0; i < n_maps; i++) {
			uint64_t end = maps[i].guest_off + maps[i].len, part;

			if (maps[i].copy != copy)
				continue;
			for (uint64_t at = maps[i].guest_off; at < end; at += part) {
				part = qcow2_len_in_cluster(q, at, end);
				set_copy(q, &maps[i], at, part);
			}
		}
}

int qcow2_snapshots_publish(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
			    struct table_need *need)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n_maps; i++)
		rc = qcow2_snapshots_alloc_tables(q, maps[i].guest_off, maps[i].len, need);
	if (!rc)
		rc = prepare_copies(q, maps, n_maps, need);
	if (!rc)
		set_copies(q, maps, n_maps);
	return rc;
}

int qcow2_reserve_bytes(struct layer *layer, uint64_t guest_off, uint32_t len, uint64_t *host_off,
			struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t weight = 1;
	int rc = q->snapshots ? qcow2_copy_weight(q, guest_off, 0, &weight, need) : 0;

	return rc ? rc : qcow2_comp_reserve(q, len, weight, host_off);
}
