/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: from guest offsets to clusters, and new entries for copied ones.
 *
 * Tables may be 1 GiB long, so both directions walk slices and never wait: the
 * first slice that is missing is named and the call starts over when it is
 * there. The order of asking, linking and setting is two_level.c's.
 *
 * Crash order. The stages of a new entry are
 *   data (durable before its commit's TABLE stage, I1)
 *   -> STAGE_REFCOUNT: slices of new L2 tables, which nothing reaches yet
 *   -> STAGE_TABLE: entries in slices of L2 tables that the disk reaches
 *   -> STAGE_ROOT: L1 entries.
 * Cut anywhere:
 * - before ROOT, a new L2 table and all it maps are unreferenced clusters at
 *   the end of the file: leaks; the guest range still reads through the link.
 * - an L1 entry is there and a later slice of its new table is not: the table
 *   lies where the file never held anything (or every slice was written and
 *   flushed with it, on a device), so the missing entries read 0: unallocated,
 *   read through the link, which is dropped only after a commit (I3).
 * - the last sector of a new table goes with its first slice, so the file is
 *   never shorter than a table that an L1 entry names.
 * - an L2 entry is 8 bytes inside one sector, old or new; its data came first.
 * No cluster is ever referenced twice, since space once handed out comes back
 * only by qed_release(), which takes what was never published.
 */
#include "formats/qed/map.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/core/two_level.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "formats/qed/space.h"
#include "io/base.h"

/* Host bytes from here on are neither in the file nor handed out. */
static uint64_t host_end(const struct qed *q)
{
	return MAX(round_up(q->layer.file->len, q->layer.cluster_len), q->layer.alloc_end);
}

/* The range begins on a cluster and lies inside the image. */
static bool host_range_ok(const struct qed *q, uint64_t host_off, uint64_t len)
{
	uint64_t end;

	return is_aligned(host_off, q->layer.cluster_len) && !add_u64(host_off, len, &end) &&
	       end <= host_end(q);
}

/* The slice that holds entry `idx` of the table at table_off, and the entry's byte in it. */
static int get_slice(struct qed *q, uint64_t table_off, uint64_t idx, struct table **out,
		     uint32_t *byte, struct table_need *need)
{
	uint64_t slice_off = round_down(idx * QED_ENTRY_LEN, q->slice_len);

	*byte = (uint32_t)(idx * QED_ENTRY_LEN - slice_off);
	return table_get(q->layer.cache, q->layer.file, table_off + slice_off, q->slice_len, out,
			 need);
}

static int l1_slice(struct qed *q, uint64_t guest_off, struct table **out, uint32_t *byte,
		    struct table_need *need)
{
	return get_slice(q, q->l1_off, guest_off >> q->l2_bits, out, byte, need);
}

static uint64_t l2_idx(const struct qed *q, uint64_t guest_off)
{
	return (guest_off >> q->cluster_bits) & ((UINT64_C(1) << q->table_bits) - 1);
}

static int l2_slice(struct qed *q, uint64_t l2_off, uint64_t guest_off, struct table **out,
		    uint32_t *byte, struct table_need *need)
{
	return get_slice(q, l2_off, l2_idx(q, guest_off), out, byte, need);
}

/* Host offset of the L2 table for guest_off; 0: there is none. */
static int l2_table_off(struct qed *q, uint64_t guest_off, uint64_t *l2_off,
			struct table_need *need)
{
	struct table *l1;
	uint32_t byte;
	int rc = l1_slice(q, guest_off, &l1, &byte, need);

	if (rc)
		return rc;
	*l2_off = le64(l1->bytes + byte);
	return !*l2_off || host_range_ok(q, *l2_off, q->table_len) ? 0 : -EUCLEAN;
}

static int qed_classify(const struct qed *q, uint64_t entry, enum extent_kind *kind)
{
	if (entry == QED_ENTRY_UNALLOCATED)
		*kind = EXTENT_UNALLOCATED;
	else if (entry == QED_ENTRY_ZERO)
		*kind = EXTENT_ZERO;
	else if (host_range_ok(q, entry, q->layer.cluster_len))
		*kind = EXTENT_DATA;
	else
		return -EUCLEAN;
	return 0;
}

/* Without an L2 table the unallocated extent goes on through the L1 slice's next empty entries. */
static int qed_map_empty_l1(struct qed *q, uint64_t len, struct extent *out,
			    struct table_need *need)
{
	uint64_t l2_span = UINT64_C(1) << q->l2_bits;
	struct table *l1;
	uint32_t byte;
	int rc = l1_slice(q, out->guest_off, &l1, &byte, need);

	if (rc)
		return rc;
	out->kind = EXTENT_UNALLOCATED;
	out->len = l2_span - (out->guest_off & (l2_span - 1));
	for (byte += QED_ENTRY_LEN; byte < l1->len && out->len < len; byte += QED_ENTRY_LEN) {
		if (le64(l1->bytes + byte))
			break;
		out->len += l2_span;
	}
	out->len = MIN(out->len, len);
	return 0;
}

/* Lengthens *out by the entries behind `byte` that continue it, up to the slice's end. */
static void qed_extend_extent(const struct qed *q, const struct table *l2, uint32_t byte,
			      uint64_t len, struct extent *out)
{
	uint64_t entry = le64(l2->bytes + byte);

	for (byte += QED_ENTRY_LEN; byte < l2->len && out->len < len; byte += QED_ENTRY_LEN) {
		enum extent_kind kind;

		if (out->kind == EXTENT_DATA)
			entry += q->layer.cluster_len;
		if (le64(l2->bytes + byte) != entry || qed_classify(q, entry, &kind))
			break;
		out->len += q->layer.cluster_len;
	}
	out->len = MIN(out->len, len);
}

int qed_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
	    struct table_need *need)
{
	struct qed *q = qed_of(layer);
	uint64_t in_cluster = guest_off & (layer->cluster_len - 1), l2_off;
	struct table *l2;
	uint32_t byte;
	int rc;

	*out = (struct extent){ .guest_off = guest_off };
	rc = l2_table_off(q, guest_off, &l2_off, need);
	if (rc)
		return rc;
	if (!l2_off)
		return qed_map_empty_l1(q, len, out, need);
	rc = l2_slice(q, l2_off, guest_off, &l2, &byte, need);
	if (rc)
		return rc;
	rc = qed_classify(q, le64(l2->bytes + byte), &out->kind);
	if (rc)
		return rc;
	out->has_host = out->kind == EXTENT_DATA;
	if (out->has_host)
		out->host_off = le64(l2->bytes + byte) + in_cluster;
	out->len = layer->cluster_len - in_cluster;
	qed_extend_extent(q, l2, byte, len, out);
	return 0;
}

/* ---- publish ---- */

/* Guest bytes that one L2 slice maps. */
static uint64_t slice_span(const struct qed *q)
{
	return (uint64_t)(q->slice_len / QED_ENTRY_LEN) << q->cluster_bits;
}

/* How many bytes of [guest_off, end) the L2 slice for guest_off maps. */
static uint64_t qed_len_in_slice(const struct qed *q, uint64_t guest_off, uint64_t end)
{
	uint64_t span = slice_span(q);

	return MIN(end - guest_off, span - (guest_off & (span - 1)));
}

/* Asks for every slice that the mapping changes, but for those of tables that are still to be made,
 * and checks that no entry in them is larger than max_entry. */
static int qed_publish_prepare(struct qed *q, const struct mapping *map, uint64_t max_entry,
			       struct table_need *need)
{
	uint64_t end = map->guest_off + map->len, l2_off;
	struct table *l2;
	uint32_t byte;
	int rc;

	assert(is_aligned(map->guest_off | map->len, q->layer.cluster_len));
	assert(map->is_zero || is_aligned(map->host_off, q->layer.cluster_len));
	for (uint64_t at = map->guest_off, part; at < end; at += part) {
		part = qed_len_in_slice(q, at, end);
		rc = l2_table_off(q, at, &l2_off, need);
		if (rc)
			return rc;
		if (!l2_off)
			continue;
		rc = l2_slice(q, l2_off, at, &l2, &byte, need);
		if (rc)
			return rc;
		for (uint64_t i = 0; i < part >> q->cluster_bits; i++)
			if (le64(l2->bytes + byte + i * QED_ENTRY_LEN) > max_entry)
				return -EEXIST;
	}
	return 0;
}

/* Makes the slice at host_off of a new table; the next commit writes its bytes [dirty_off,
 * dirty_off + dirty_len). Each slice has some: a clean one would still be fresh when the L1 entry
 * is on disk, and its entries would then be written in the same stage as their data. */
static int new_slice(struct qed *q, uint64_t host_off, uint32_t dirty_off, uint32_t dirty_len)
{
	struct table *slice = table_find(q->layer.cache, q->layer.file, host_off);

	if (!slice)
		slice = table_new(q->layer.cache, q->layer.file, host_off, q->slice_len,
				  STAGE_TABLE);
	if (!slice)
		return -ENOMEM;
	table_mark_dirty(q->layer.cache, slice, dirty_off, dirty_len, STAGE_TABLE);
	return 0;
}

/* An empty table at l2_off, about to be used for guest_off. A file reads zeros there already, so
 * the entry's sector and, to make the file long enough, the last one do; on a device all of it is
 * written. May be called again after a failure. */
static int qed_new_table(struct qed *q, uint64_t l2_off, uint64_t guest_off)
{
	uint64_t byte = l2_idx(q, guest_off) * QED_ENTRY_LEN;
	uint64_t slice_off = round_down(byte, q->slice_len), last = q->table_len - q->slice_len;
	int rc = 0;

	if (!q->layer.file->is_block) {
		rc = new_slice(q, l2_off + slice_off, (uint32_t)(byte - slice_off), QED_ENTRY_LEN);
		return rc ? rc
			  : new_slice(q, l2_off + last, q->slice_len - TABLE_SECTOR_LEN,
				      TABLE_SECTOR_LEN);
	}
	for (uint64_t off = 0; !rc && off <= last; off += q->slice_len)
		rc = new_slice(q, l2_off + off, 0, q->slice_len);
	return rc;
}

/* Gives guest_off an empty L2 table if it has none. No reader can tell, so publish() may fail
 * afterwards. A table that could not be linked is kept for the next try: slices of it are in the
 * cache and will be written, so its space can never be used for anything else. */
static int qed_link_l2(struct qed *q, uint64_t guest_off, struct table_need *need)
{
	uint64_t l2_off;
	struct table *l1;
	uint32_t byte;
	int rc = l2_table_off(q, guest_off, &l2_off, need);

	if (rc || l2_off)
		return rc;
	if (!q->spare_l2_off)
		rc = qed_reserve_table(q, &q->spare_l2_off);
	if (!rc)
		rc = qed_new_table(q, q->spare_l2_off, guest_off);
	if (!rc)
		rc = l1_slice(q, guest_off, &l1, &byte, need);
	if (rc)
		return rc;
	put_le64(l1->bytes + byte, q->spare_l2_off);
	table_mark_dirty(q->layer.cache, l1, byte, QED_ENTRY_LEN, STAGE_ROOT);
	q->spare_l2_off = 0;
	return 0;
}

static void qed_set_entries(struct layer *layer, const struct mapping *map)
{
	struct qed *q = qed_of(layer);
	uint64_t end = map->guest_off + map->len, host_off = map->host_off, l2_off;
	struct table_need need;
	struct table *l2;
	uint32_t byte;
	int rc;

	for (uint64_t at = map->guest_off, part; at < end; at += part) {
		uint32_t n;

		part = qed_len_in_slice(q, at, end);
		n = (uint32_t)(part >> q->cluster_bits);
		rc = l2_table_off(q, at, &l2_off, &need);
		assert(!rc && l2_off);
		rc = l2_slice(q, l2_off, at, &l2, &byte, &need);
		assert(!rc);
		for (uint32_t i = 0; i < n; i++, host_off += q->layer.cluster_len)
			put_le64(l2->bytes + byte + i * QED_ENTRY_LEN,
				 map->is_zero ? QED_ENTRY_ZERO : host_off);
		table_mark_dirty(q->layer.cache, l2, byte, n * QED_ENTRY_LEN, STAGE_TABLE);
	}
}

int qed_alloc_tables(struct layer *layer, uint64_t guest_off, uint64_t len, struct table_need *need)
{
	struct qed *q = qed_of(layer);
	uint64_t end = guest_off + len;
	int rc = 0;

	for (uint64_t at = guest_off; !rc && at < end; at += qed_len_in_slice(q, at, end))
		rc = qed_link_l2(q, at, need);
	return rc;
}

static int prepare_new(struct layer *layer, const struct mapping *map, struct table_need *need)
{
	return qed_publish_prepare(qed_of(layer), map, QED_ENTRY_UNALLOCATED, need);
}

static int prepare_over_zeros(struct layer *layer, const struct mapping *map,
			      struct table_need *need)
{
	return qed_publish_prepare(qed_of(layer), map, QED_ENTRY_ZERO, need);
}

int qed_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		struct table_need *need)
{
	static const struct two_level_change change = { prepare_new, qed_alloc_tables,
							qed_set_entries };

	return two_level_publish(layer, &change, maps, n_maps, need);
}

int qed_publish_over_zeros(struct layer *layer, const struct mapping *maps, size_t n_maps,
			   struct table_need *need)
{
	static const struct two_level_change change = { prepare_over_zeros, qed_alloc_tables,
							qed_set_entries };

	return two_level_publish(layer, &change, maps, n_maps, need);
}

/* ---- where tables are ---- */

static int qed_lookup_l2_off(struct layer *layer, uint64_t guest_off, uint64_t *l2_off,
			     struct table_need *need)
{
	return l2_table_off(qed_of(layer), guest_off, l2_off, need);
}

static struct table_need qed_lookup_slice(const struct layer *layer, uint64_t l2_off,
					  uint64_t guest_off)
{
	const struct qed *q = qed_of(layer);
	uint64_t byte = l2_idx(q, guest_off) * QED_ENTRY_LEN;

	return (struct table_need){ .file = layer->file,
				    .host_off = l2_off + round_down(byte, q->slice_len),
				    .len = q->slice_len };
}

static uint64_t qed_lookup_l2_span(const struct layer *layer)
{
	return UINT64_C(1) << qed_of(layer)->l2_bits;
}

static uint64_t qed_lookup_slice_span(const struct layer *layer)
{
	return slice_span(qed_of(layer));
}

static const struct two_level_lookup lookup = {
	.l2_off = qed_lookup_l2_off,
	.slice = qed_lookup_slice,
	.l2_span = qed_lookup_l2_span,
	.slice_span = qed_lookup_slice_span,
};

int qed_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		  struct table_need *need)
{
	return two_level_table_at(layer, &lookup, guest_off, has, end_off, need);
}

int qed_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		    uint64_t *end_off, struct table_need *need)
{
	return two_level_table_place(layer, &lookup, guest_off, place, end_off, need);
}
