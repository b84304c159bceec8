/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Refcounts in the cache: reading, raising and lowering them. A cluster is counted
 * when it is published, so that nothing an aborted copy reserved is ever a leak.
 */
#include "formats/qcow2/space/refcount.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"

static uint32_t block_slice_len(const struct qcow2 *q)
{
	return MIN(q->layer.cluster_len, TABLE_MAX_LEN);
}

/* Clusters whose refcounts one slice of a block holds. */
static uint64_t slice_refs(const struct qcow2 *q)
{
	return ((uint64_t)block_slice_len(q) * 8) >> q->hdr.refcount_order;
}

uint64_t qcow2_block_off(const struct qcow2 *q, uint64_t block_idx)
{
	return block_idx < q->reftable.n ? be64(q->reftable.bytes + 8 * block_idx) : 0;
}

/* The slice that counts host cluster cluster_idx; its block exists. */
static int ref_slice(struct qcow2 *q, uint64_t cluster_idx, struct table **out,
		     struct table_need *need)
{
	uint64_t in_block = cluster_idx % q->refs_per_block;
	uint64_t slice_off = in_block / slice_refs(q) * block_slice_len(q);

	return table_get(q->layer.cache, q->layer.file,
			 qcow2_block_off(q, cluster_idx / q->refs_per_block) + slice_off,
			 block_slice_len(q), out, need);
}

int qcow2_ref_need(struct qcow2 *q, uint64_t host_off, uint64_t len, struct table_need *need)
{
	uint64_t end = (host_off + len) >> q->cluster_bits;

	for (uint64_t idx = host_off >> q->cluster_bits; idx < end;
	     idx = round_down(idx, slice_refs(q)) + slice_refs(q)) {
		struct table *slice;
		int rc = ref_slice(q, idx, &slice, need);

		if (rc)
			return rc;
	}
	return 0;
}

int qcow2_ref_get(struct qcow2 *q, uint64_t cluster_idx, uint64_t *value, struct table_need *need)
{
	struct table *slice;
	int rc;

	*value = 0;
	if (!qcow2_block_off(q, cluster_idx / q->refs_per_block))
		return 0;
	rc = ref_slice(q, cluster_idx, &slice, need);
	if (!rc)
		*value = qcow2_refcount_get(slice->bytes, cluster_idx % slice_refs(q),
					    q->hdr.refcount_order);
	return rc;
}

void qcow2_ref_set(struct qcow2 *q, uint64_t cluster_idx, uint64_t n, uint64_t value)
{
	while (n) {
		uint64_t first = cluster_idx % slice_refs(q);
		uint64_t part = MIN(n, slice_refs(q) - first);
		uint32_t lo = (first << q->hdr.refcount_order) / 8;
		uint32_t hi = (((first + part) << q->hdr.refcount_order) + 7) / 8;
		struct table_need need;
		struct table *slice;
		int rc = ref_slice(q, cluster_idx, &slice, &need);

		assert(!rc);
		for (uint64_t i = 0; i < part; i++)
			qcow2_refcount_put(slice->bytes, first + i, q->hdr.refcount_order, value);
		table_mark_dirty(q->layer.cache, slice, lo, hi - lo, STAGE_REFCOUNT);
		cluster_idx += part;
		n -= part;
	}
}

void qcow2_ref_take(struct qcow2 *q, uint64_t host_off, uint64_t len)
{
	qcow2_ref_set(q, host_off >> q->cluster_bits, len >> q->cluster_bits, 1);
}

/* ---- taking space ---- */

uint64_t qcow2_room(const struct qcow2 *q, uint64_t want)
{
	uint64_t limit = q->layer.file->is_block ? q->layer.file->len : QCOW2_MAX_HOST_OFF;

	if (q->layer.alloc_end >= limit)
		return 0;
	return MIN(want, (limit - q->layer.alloc_end) >> q->cluster_bits);
}

int qcow2_no_room(const struct qcow2 *q)
{
	return q->layer.file->is_block ? -ENOSPC : -EFBIG;
}

int qcow2_new_block(struct qcow2 *q, uint64_t host_off)
{
	bool known_zero = host_off >= q->layer.zero_from;

	for (uint32_t off = 0; off < q->layer.cluster_len; off += block_slice_len(q)) {
		struct table *slice = table_new(q->layer.cache, q->layer.file, host_off + off,
						block_slice_len(q), STAGE_REFCOUNT);

		if (!slice)
			return -ENOMEM;
		/* Where the space is known to hold zeros, the first and the last sector will do:
		 * the file does not end inside the block. */
		table_mark_dirty(q->layer.cache, slice, 0,
				 known_zero ? TABLE_SECTOR_LEN : slice->len, STAGE_REFCOUNT);
		table_mark_dirty(q->layer.cache, slice, slice->len - TABLE_SECTOR_LEN,
				 TABLE_SECTOR_LEN, STAGE_REFCOUNT);
	}
	return 0;
}
