/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Host space.
 *
 * It is taken behind everything the image has ever used, by moving one pointer
 * (alloc_end). A free-cluster search was rejected for copying: a refcount that is
 * wrong by one would let it overwrite live data, and what lies behind the end also
 * lies contiguous. Only what came back, or what the guest's own writes let go, is
 * handed out again.
 *
 * reserve() keeps this true: space it gave out lies in a refcount block that
 * exists, at least in memory. A block for a new range is that range's first
 * new cluster and counts itself. The table of the blocks is reftable.c.
 *
 * NEW L2 TABLES lie together, a few at a time. On a sparse disk every island of data
 * needs a table of its own, and tables between the islands cut what is copied into as
 * many writes: with 64 MiB in 1,024 islands the pull took a fifth longer. The clusters
 * reserved for them are neither counted nor written, so that none of them leaks, and are
 * no more than the tables that the pull under way has still to make, so that the image
 * grows no longer than measured. Writing tables and data to two ends of the file was rejected:
 * a file has one end.
 */
#include "formats/qcow2/space/space.h"

#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/reftable.h"
#include "io/base.h"

#define MAX_RESERVED_L2 64u

/* Gives back the clusters reserved for tables, when there is no other room. */
static void give_up_reserved_l2(struct qcow2 *q)
{
	uint64_t off = q->reserved_l2.off, end = q->reserved_l2.end;

	q->reserved_l2.off = q->reserved_l2.end = 0;
	if (off < end)
		qcow2_release(&q->layer, off, end - off);
}

/* At least one cluster; those behind it are for the next tables. */
static int reserve_l2_tables(struct qcow2 *q)
{
	uint64_t n = MIN(MAX(q->layer.tables_wanted, UINT64_C(1)), (uint64_t)MAX_RESERVED_L2), got;
	int rc = qcow2_reserve(&q->layer, n << q->cluster_bits, &q->reserved_l2.off, &got);

	if (rc)
		return rc;
	q->reserved_l2.end = q->reserved_l2.off + got;
	return 0;
}

int qcow2_reserve_table(struct qcow2 *q, uint64_t *l2_off, struct table_need *need)
{
	int rc = q->reserved_l2.off < q->reserved_l2.end ? 0 : reserve_l2_tables(q);

	if (!rc)
		rc = qcow2_ref_need(q, q->reserved_l2.off, q->layer.cluster_len, need);
	if (rc)
		return rc;
	*l2_off = q->reserved_l2.off;
	q->reserved_l2.off += q->layer.cluster_len;
	q->layer.tables_wanted -= q->layer.tables_wanted != 0;
	return 0;
}

/* The first new cluster of a range without a refcount block becomes its block. */
static int add_block(struct qcow2 *q, uint64_t block_idx)
{
	uint64_t host_off = q->layer.alloc_end;
	int rc;

	if (!qcow2_room(q, 1))
		return qcow2_no_room(q);
	q->layer.alloc_end += q->layer.cluster_len;
	rc = qcow2_reftable_add(q, block_idx, host_off);
	if (rc)
		return rc;
	qcow2_ref_take(q, host_off, q->layer.cluster_len);
	return 0;
}

int qcow2_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got)
{
	struct qcow2 *q = qcow2_of(layer);

	if (gaps_take(&q->gaps, len, host_off, got) || qcow2_take_reusable(q, len, host_off, got))
		return 0;
	for (;;) {
		uint64_t idx = layer->alloc_end >> q->cluster_bits;
		uint64_t block_idx = idx / q->refs_per_block;
		int rc = 0;

		if (block_idx >= q->reftable.n) {
			rc = qcow2_reftable_grow(q);
		} else if (!qcow2_block_off(q, block_idx)) {
			rc = add_block(q, block_idx);
		} else {
			uint64_t n = qcow2_room(q, MIN(len >> q->cluster_bits,
						       (block_idx + 1) * q->refs_per_block - idx));

			if (!n && q->reserved_l2.off < q->reserved_l2.end) {
				give_up_reserved_l2(q);
				return qcow2_reserve(layer, len, host_off, got);
			}
			if (!n)
				return qcow2_no_room(q);
			*host_off = layer->alloc_end;
			*got = n << q->cluster_bits;
			layer->alloc_end += *got;
			return 0;
		}
		if (rc)
			return rc;
	}
}

/* The space may have been written to meanwhile: it does not count as zeros any more. Where it is
 * not at the end it becomes a gap, which is handed out first; nothing counts it, so it is no
 * leak. */
void qcow2_release(struct layer *layer, uint64_t host_off, uint64_t len)
{
	struct qcow2 *q = qcow2_of(layer);

	if (layer->zero_from != UINT64_MAX)
		layer->zero_from = MAX(layer->zero_from, host_off + len);
	if (host_off + len == layer->alloc_end)
		layer->alloc_end = gaps_absorb(&q->gaps, host_off);
	else
		gaps_add(&q->gaps, host_off, len);
}
