/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * New entries of the guest's disk, for images where it alone reads through the backing
 * file (snapshots/fill.c has the others). The order of asking and changing is
 * two_level.c's.
 */
#include "formats/qcow2/write/publish.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/core/two_level.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/fill.h"
#include "formats/qcow2/space/compressed_space.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/space.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"

/* Everything publish() will change is in memory, and the entries are still empty. Tables that do
 * not exist yet are counted with their own references by qcow2_link_l2(). */
static int qcow2_publish_prepare(struct layer *layer, const struct mapping *map,
				 struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t end = map->guest_off + map->len, l2_off;
	struct table *l2;
	uint32_t byte;
	int rc;

	if (map->is_zero && q->hdr.version < 3)
		return -ENOTSUP;
	for (uint64_t at = map->guest_off, part; at < end; at += part) {
		part = qcow2_len_in_slice(q, at, end);
		rc = qcow2_l2_table_off(q, at, &l2_off, need);
		if (rc)
			return rc;
		if (!l2_off)
			continue;
		rc = qcow2_l2_slice_to_change(q, l2_off, at, &l2, &byte, need);
		if (rc)
			return rc;
		for (uint64_t i = 0; i < part >> q->cluster_bits; i++)
			if (be64(l2->bytes + byte + i * q->l2_entry_len))
				return -EEXIST;
	}
	if (map->comp_len)
		return qcow2_comp_ref_need(q, map, 1, need);
	if (map->is_zero || qcow2_is_external(q))
		return 0;
	return qcow2_ref_need(q, map->host_off, map->len, need);
}

/* Gives guest_off an empty L2 table if it has none. No reader can tell, so publish() may fail
 * afterwards. */
static int qcow2_link_l2(struct qcow2 *q, uint64_t guest_off, struct table_need *need)
{
	uint64_t l2_off;
	struct table *l1;
	uint32_t byte;
	int rc = qcow2_l2_table_off(q, guest_off, &l2_off, need);

	if (rc || l2_off)
		return rc;
	rc = qcow2_reserve_table(q, &l2_off, need);
	if (rc)
		return rc;
	/* From here on the space stays ours even on failure (an unaccounted gap): cached slices of
	 * it may exist. */
	rc = qcow2_new_l2_slices(q, l2_off, guest_off);
	if (!rc)
		rc = qcow2_l1_slice(q, guest_off / qcow2_l2_span(q), &l1, &byte, need);
	if (rc)
		return rc;
	qcow2_ref_take(q, l2_off, q->layer.cluster_len);
	put_be64(l1->bytes + byte, l2_off | QCOW2_COPIED);
	table_mark_dirty(q->layer.cache, l1, byte, 8, STAGE_ROOT);
	return 0;
}

static void qcow2_set_entries(struct layer *layer, const struct mapping *map)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t end = map->guest_off + map->len, host_off = map->host_off, l2_off;
	struct table_need need;
	struct table *l2;
	uint32_t byte;
	int rc;

	for (uint64_t at = map->guest_off, part; at < end; at += part) {
		uint64_t n;

		part = qcow2_len_in_slice(q, at, end);
		n = part >> q->cluster_bits;
		rc = qcow2_l2_table_off(q, at, &l2_off, &need);
		assert(!rc && l2_off);
		rc = qcow2_l2_slice_to_change(q, l2_off, at, &l2, &byte, &need);
		assert(!rc);
		for (uint64_t i = 0; i < n; i++, host_off += q->layer.cluster_len)
			put_be64(l2->bytes + byte + i * q->l2_entry_len,
				 map->comp_len  ? qcow2_comp_entry(q, map)
				 : map->is_zero ? QCOW2_ZERO
						: host_off | QCOW2_COPIED);
		table_mark_dirty(q->layer.cache, l2, byte, n * q->l2_entry_len, STAGE_TABLE);
	}
	if (map->comp_len)
		qcow2_comp_ref_raise(q, map, 1);
	else if (!map->is_zero && !qcow2_is_external(q))
		qcow2_ref_take(q, map->host_off, map->len);
}

int qcow2_alloc_tables(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t end = guest_off + len;
	int rc = 0;

	if (q->snapshots)
		return qcow2_snapshots_alloc_tables(q, guest_off, len, need);
	for (uint64_t at = guest_off; !rc && at < end; at += qcow2_len_in_slice(q, at, end))
		rc = qcow2_link_l2(q, at, need);
	return rc;
}

/* I2: the entry and the reference count that covers it change in the same batch; their stages put
 * the count on disk first. */
int qcow2_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		  struct table_need *need)
{
	static const struct two_level_change change = {
		.prepare = qcow2_publish_prepare,
		.alloc_tables = qcow2_alloc_tables,
		.set = qcow2_set_entries,
	};
	struct qcow2 *q = qcow2_of(layer);

	if (q->snapshots)
		return qcow2_snapshots_publish(q, maps, n_maps, need);
	return two_level_publish(layer, &change, maps, n_maps, need);
}
