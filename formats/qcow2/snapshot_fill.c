/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: giving copied data to every L2 table that lacks it, in images with
 * internal snapshots or subclusters (snapshots.c).
 *
 * Tables that lack a cluster share one copy of it, as they shared the backing
 * file's: its refcount is the number of L1 entries that lead to it, and COPIED
 * is set where that is one. More copies are needed where the refcount's width
 * does not reach, and where a table has a cluster of its own already, of which
 * only some subclusters are allocated: those get theirs in place.
 *
 * Nothing is remembered between copy_target() and publish(): both compute the
 * same copies from the same entries, which the range's lock keeps as they are.
 * Handing the engine a list of tables was rejected: it would know what an L2
 * table is.
 *
 * Crash order is that of tables.c: refcounts (all of a copy's references at
 * once) and new tables, barrier, then L2 entries, the active L1's and the
 * snapshots'. Cut in between, a refcount is too high: a leak.
 */
#include "formats/qcow2/snapshot_fill.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/compressed_space.h"
#include "formats/qcow2/disk.h"
#include "formats/qcow2/freed.h"
#include "formats/qcow2/image.h"
#include "formats/qcow2/refcount.h"
#include "formats/qcow2/snapshots.h"
#include "formats/qcow2/space.h"
#include "formats/qcow2/tables.h"
#include "io/base.h"

/* How many references tables may share: one less than the width allows, because going back to a
 * snapshot counts its clusters once more before it lets the others go, and must stay possible. */
static uint64_t max_shared(const struct qcow2 *q)
{
	if (q->hdr.refcount_order == 6)
		return UINT64_MAX;
	return MAX((UINT64_C(1) << (1u << q->hdr.refcount_order)) - 2, UINT64_C(1));
}

/* ---- which copies ---- */

/* The copy that this table joins, whose cluster is at host_off (0: has none yet). */
static int join_copy(const struct qcow2 *q, uint64_t host_off, uint32_t weight)
{
	struct qcow2_snapshots *v = q->snapshots;
	uint32_t i;

	for (i = 0; i < v->n_copies; i++)
		if (v->copy_host_off[i] == host_off &&
		    (host_off || v->copy_weight[i] + weight <= max_shared(q)))
			break;
	if (i == v->n_copies) {
		v->copy_host_off[v->n_copies] = host_off;
		v->copy_weight[v->n_copies++] = 0;
	}
	v->copy_weight[i] += weight;
	return (int)i;
}

/* The entry of a table for guest_off's granule; its cluster's host offset, or 0. */
static int read_entry(struct qcow2 *q, const struct qcow2_view_table *table, uint64_t guest_off,
		      struct qcow2_entry *entry, uint64_t *cluster_off, struct table_need *need)
{
	unsigned sub = (guest_off - qcow2_cluster_start(q, guest_off)) / q->layer.granule_len;
	struct table *l2;
	uint32_t byte;
	int rc = qcow2_l2_slice(q, table->l2_off, guest_off, &l2, &byte, need);

	if (!rc)
		rc = qcow2_entry_read(q, l2->bytes + byte, sub, entry);
	*cluster_off = 0;
	if (!rc && entry->has_host && entry->kind != EXTENT_COMPRESSED)
		*cluster_off = round_down(entry->host_off, q->layer.cluster_len);
	return rc;
}

/* Fills at[].copy and the copies for the granule at guest_off. */
static int find_copies(struct qcow2 *q, uint64_t guest_off, struct table_need *need)
{
	struct qcow2_snapshots *v = q->snapshots;
	int rc = qcow2_snapshots_at(q, guest_off / qcow2_l2_span(q), need);

	v->n_copies = 0;
	v->left_copy = -1;
	for (uint32_t i = 0; !rc && i < v->n_at; i++) {
		struct qcow2_view_table *table = &v->at[i];
		struct qcow2_entry entry;
		uint64_t cluster_off;

		table->copy = -1;
		if (!table->l2_off || !qcow2_view_sees(table, guest_off))
			continue;
		rc = read_entry(q, table, guest_off, &entry, &cluster_off, need);
		if (!rc && entry.kind == EXTENT_UNALLOCATED)
			table->copy = join_copy(q, cluster_off, table->weight);
		if (table->copy >= 0 && v->has_left &&
		    qcow2_freed_is_fresh(q, table->l2_off >> q->cluster_bits))
			v->left_copy = table->copy;
	}
	return rc;
}

/* Subclusters may be written into a cluster only if no other table reads them there: all its
 * references come from this place of the disks, and no table of it says that the granule holds
 * data. */
static int may_write_into(struct qcow2 *q, uint64_t guest_off, uint64_t host_off,
			  struct table_need *need)
{
	struct qcow2_snapshots *v = q->snapshots;
	uint64_t n_refs = 0, refcount;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < v->n_at; i++) {
		struct qcow2_entry entry;
		uint64_t cluster_off;

		if (!v->at[i].l2_off)
			continue;
		rc = read_entry(q, &v->at[i], guest_off, &entry, &cluster_off, need);
		if (rc || cluster_off != host_off)
			continue;
		n_refs += v->at[i].weight;
		if (entry.kind == EXTENT_DATA)
			rc = -ENOTSUP;
	}
	if (!rc)
		rc = qcow2_ref_get(q, host_off >> q->cluster_bits, &refcount, need);
	/* The guest's disk may have left the cluster, and the count does not say so yet. */
	n_refs += qcow2_freed_pending(q, host_off >> q->cluster_bits);
	return rc ? rc : refcount == n_refs ? 0 : -ENOTSUP;
}

/* Does the guest's disk take this copy of the cluster at guest_off? */
static bool is_guests_copy(const struct qcow2 *q, uint64_t guest_off, unsigned copy)
{
	const struct qcow2_snapshots *v = q->snapshots;

	for (uint32_t i = 0; i < v->n_at; i++)
		if (v->at[i].is_guests && v->at[i].copy == (int)copy)
			return guest_off < q->layer.guest_len;
	return false;
}

static bool all_copies_are_new(const struct qcow2_snapshots *v)
{
	for (uint32_t i = 0; i < v->n_copies; i++)
		if (v->copy_host_off[i])
			return false;
	return true;
}

/* How far on the clusters behind guest_off's are lacked by the same tables: then they go to the
 * same copies. All of the first cluster's copies are new. */
static int extend_copies(struct qcow2 *q, uint64_t guest_off, uint64_t *end,
			 struct table_need *need)
{
	struct qcow2_snapshots *v = q->snapshots;
	uint64_t at = qcow2_cluster_start(q, guest_off) + q->layer.cluster_len;
	uint32_t n_copies = v->n_copies;
	bool is_guests = is_guests_copy(q, guest_off, 0);

	if (v->n_copies > 1) { /* rare: a cluster at a time */
		*end = MIN(*end, at);
		return 0;
	}
	for (; at < *end; at += q->layer.cluster_len) {
		int rc = find_copies(q, at, need);

		if (rc)
			return rc;
		if (v->n_copies != n_copies || !all_copies_are_new(v) ||
		    is_guests_copy(q, at, 0) != is_guests)
			*end = at;
	}
	return 0;
}

int qcow2_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		      struct destination *out, struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	struct qcow2_snapshots *v = q->snapshots;
	uint64_t slice_end, end = guest_off + len, in_cluster;
	int rc;

	*out = (struct destination){ .len = len };
	if (qcow2_is_external(q)) { /* there is one place for it, and one disk that lacks it */
		out->has_space = true;
		out->host_off = guest_off;
		return copy ? -ENOENT : 0;
	}
	if (!v)
		return copy ? -ENOENT : 0;
	rc = find_copies(q, guest_off, need);
	if (rc)
		return rc;
	if (copy >= v->n_copies)
		return copy ? -ENOENT : -EEXIST;
	slice_end = round_down(guest_off, qcow2_l2_slice_span(q)) + qcow2_l2_slice_span(q);
	end = qcow2_snapshots_boundary(q, guest_off, MIN(end, slice_end));
	in_cluster = guest_off - qcow2_cluster_start(q, guest_off);
	out->for_snapshots = !is_guests_copy(q, guest_off, copy);
	if (all_copies_are_new(v)) {
		rc = extend_copies(q, guest_off, &end, need);
	} else {
		end = MIN(end, guest_off - in_cluster + layer->cluster_len);
		out->has_space = v->copy_host_off[copy];
		if (out->has_space)
			rc = may_write_into(q, guest_off, v->copy_host_off[copy], need);
		out->host_off = v->copy_host_off[copy] + in_cluster;
	}
	out->len = end - guest_off;
	return rc;
}

int qcow2_copy_weight(struct qcow2 *q, uint64_t guest_off, unsigned copy, uint64_t *weight,
		      struct table_need *need)
{
	int rc = find_copies(q, guest_off, need);

	if (!rc && copy >= q->snapshots->n_copies)
		rc = -EEXIST;
	*weight = rc ? 0 : q->snapshots->copy_weight[copy];
	return rc;
}

/* ---- new tables ---- */

/* The disks by number: 0 the guest's, then the snapshots'. Its L1 entry, where it sees guest_off
 * and has none, and how far it sees. */
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

/* Space for a table, not counted yet, whose slices are in memory. As link_l2() has it. */
static int new_table(struct qcow2 *q, uint64_t guest_off, uint64_t *l2_off, struct table_need *need)
{
	int rc = qcow2_reserve_table(q, l2_off, need);

	return rc ? rc : qcow2_new_l2_slices(q, *l2_off, guest_off);
}

/* One table for the disk `first` and for those behind it that lack one and see as far: what is
 * filled in through one disk must not lie behind the end of another, where growing would bring it
 * to light. */
static int link_group(struct qcow2 *q, uint32_t first, uint64_t guest_off, struct table_need *need)
{
	uint32_t n_disks = q->snapshots->n_snapshots + 1;
	uint64_t l1_idx = guest_off / qcow2_l2_span(q), weight = 0, seen_end, end, entry, l2_off;
	bool lacks;
	int rc = new_table(q, guest_off, &l2_off, need);

	if (!rc) /* still in the cache? */
		rc = lacks_table(q, 0, guest_off, &lacks, &end, need);
	if (!rc)
		rc = lacks_table(q, first, guest_off, &lacks, &seen_end, need);
	if (rc)
		return rc;
	for (unsigned pass = 0; pass < 2; pass++) {
		uint64_t n = 0;

		entry = l2_off | (weight == 1 ? QCOW2_COPIED : 0);
		for (uint32_t i = first; i < n_disks && n < max_shared(q); i++) {
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
	q->snapshots->at_l1_idx = UINT64_MAX;
	return 0;
}

/* Gives every disk that sees guest_off an L2 table. */
static int link_at(struct qcow2 *q, uint64_t guest_off, struct table_need *need)
{
	struct qcow2_snapshots *v = q->snapshots;
	int rc = qcow2_snapshots_at(q, guest_off / qcow2_l2_span(q), need);

	if (rc || v->at[0].l2_off)
		return rc;
	for (uint32_t i = 0; !rc && i <= v->n_snapshots; i++) {
		uint64_t end;
		bool lacks;

		rc = lacks_table(q, i, guest_off, &lacks, &end, need);
		if (!rc && lacks)
			rc = link_group(q, i, guest_off, need);
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
static uint64_t new_weight(const struct qcow2_snapshots *v, unsigned copy)
{
	return v->copy_weight[copy] + (v->left_copy == (int)copy);
}

static void drop_left(struct qcow2 *q, const struct mapping *map, uint64_t host_off)
{
	uint64_t len = map->comp_len ? map->comp_len : 1;

	if (q->snapshots->left_copy == (int)map->copy)
		qcow2_freed_add(q, host_off >> q->cluster_bits,
				((host_off + len - 1) >> q->cluster_bits) -
					(host_off >> q->cluster_bits) + 1,
				!map->comp_len);
}

/* Everything set_cluster() will want is in memory, and the entries are as copy_target() saw
 * them. */
static int prepare_map(struct qcow2 *q, const struct mapping *map, struct table_need *need)
{
	struct qcow2_snapshots *v = q->snapshots;
	uint64_t end = map->guest_off + map->len;

	for (uint64_t at = map->guest_off; at < end; at += qcow2_cluster_part(q, at, end)) {
		uint64_t host_off = qcow2_mapped_host_off(q, map, at);
		int rc = find_copies(q, at, need);

		if (rc)
			return rc;
		if (map->copy >= v->n_copies)
			return -EEXIST;
		if (map->is_zero) /* an entry in every table that lacks it, no copies */
			continue;
		if (v->copy_host_off[map->copy] && v->copy_host_off[map->copy] != host_off)
			return -EEXIST;
		if (map->comp_len)
			rc = qcow2_comp_ref_need(q, map, new_weight(v, map->copy), need);
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
static void set_cluster(struct qcow2 *q, const struct mapping *map, uint64_t at, uint64_t len)
{
	struct qcow2_snapshots *v = q->snapshots;
	uint64_t host_off = qcow2_mapped_host_off(q, map, at), entry = 0;
	struct table_need need;
	int rc = find_copies(q, at, &need);

	assert(!rc && map->copy < v->n_copies);
	if (map->comp_len)
		entry = qcow2_comp_entry(q, map);
	else if (!map->is_zero)
		entry = host_off | (new_weight(v, map->copy) == 1 ? QCOW2_COPIED : 0);
	for (uint32_t i = 0; i < v->n_at; i++) {
		struct table *l2;
		uint32_t byte;

		if (v->at[i].copy < 0 || (!map->is_zero && v->at[i].copy != (int)map->copy))
			continue;
		rc = qcow2_l2_slice(q, v->at[i].l2_off, at, &l2, &byte, &need);
		assert(!rc);
		set_entry(q, l2->bytes + byte, at, len, entry);
		table_mark_dirty(q->layer.cache, l2, byte, q->l2_entry_len, STAGE_TABLE);
	}
	if (map->is_zero || v->copy_host_off[map->copy] || qcow2_is_external(q))
		return;
	if (map->comp_len)
		qcow2_comp_ref_raise(q, map, new_weight(v, map->copy));
	else
		qcow2_ref_set(q, host_off >> q->cluster_bits, 1, new_weight(v, map->copy));
	drop_left(q, map, map->comp_len ? map->host_off : host_off);
}

static int prepare_all(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
		       struct table_need *need)
{
	uint64_t n_clusters = 0;
	int rc;

	for (size_t i = 0; i < n_maps; i++)
		n_clusters += maps[i].len / q->layer.cluster_len + 2;
	rc = qcow2_freed_room(q, n_clusters);
	for (size_t i = 0; !rc && i < n_maps; i++)
		rc = maps[i].is_zero && q->hdr.version < 3 ? -ENOTSUP
							   : prepare_map(q, &maps[i], need);
	return rc;
}

/* The last copy first: copies are numbered by the tables that still lack the range, and taking the
 * last one away leaves the others' numbers as they are. */
static void set_all(struct qcow2 *q, const struct mapping *maps, size_t n_maps)
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
				part = qcow2_cluster_part(q, at, end);
				set_cluster(q, &maps[i], at, part);
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
		rc = prepare_all(q, maps, n_maps, need);
	if (!rc)
		set_all(q, maps, n_maps);
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
