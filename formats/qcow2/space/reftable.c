/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: the refcount table of an image being written. It is resident (8 MiB
 * at most), so that taking space never waits.
 *
 * A full table is replaced by a larger copy behind the end of the image; the
 * header switches to it (bytes 48-59, one sector) in STAGE_REFTABLE, and when
 * that is durable the old one's clusters are freed. Growing in place into
 * whatever follows was rejected: there is no order of writes for it that a cut
 * cannot catch in the middle.
 */
#include "formats/qcow2/space/reftable.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/refcount.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

int qcow2_reftable_read(struct qcow2 *q, const char *name, struct err *err)
{
	uint64_t file_end = round_up(q->layer.file->len, q->layer.cluster_len);
	uint64_t len = q->hdr.reftable_clusters * (uint64_t)q->layer.cluster_len;
	int rc;

	q->reftable.bytes = malloc(len);
	if (!q->reftable.bytes)
		return err_set(err, -ENOMEM, "%s: out of memory", name);
	rc = file_read_padded(q->layer.file, q->reftable.bytes, len, q->hdr.reftable_off);
	if (rc)
		return err_errno(err, rc, "%s: cannot read the refcount table at offset %#" PRIx64,
				 name, q->hdr.reftable_off);
	q->reftable.n = len / 8;
	for (uint64_t i = 0; i < q->reftable.n; i++) {
		uint64_t off = qcow2_block_off(q, i), end;

		if (!is_aligned(off, q->layer.cluster_len) ||
		    (off && (add_u64(off, q->layer.cluster_len, &end) || end > file_end)))
			return err_set(err, -EUCLEAN,
				       "%s: damaged qcow2 image: refcount table entry %" PRIu64
				       " at offset %#" PRIx64 " points to %#" PRIx64
				       ", which is no cluster of the file; nothing was changed",
				       name, i, q->hdr.reftable_off + 8 * i, off);
	}
	return 0;
}

/* Half as long again, and enough for itself and its blocks. */
void qcow2_plan_growth(const struct qcow2 *q, struct qcow2_growth *g)
{
	uint64_t old_clusters = div_round_up(q->reftable.n * 8, q->layer.cluster_len);
	uint64_t end, n_entries;

	g->first_idx = q->layer.alloc_end >> q->cluster_bits;
	g->table_clusters = old_clusters + old_clusters / 2 + 1;
	g->n_blocks = 1;
	for (;;) {
		uint64_t blocks;

		end = g->first_idx + g->n_blocks + g->table_clusters;
		blocks = (end - 1) / q->refs_per_block - g->first_idx / q->refs_per_block + 1;
		n_entries = (end - 1) / q->refs_per_block + 1;
		if (blocks <= g->n_blocks &&
		    n_entries * 8 <= g->table_clusters * q->layer.cluster_len)
			return;
		g->n_blocks = MAX(blocks, g->n_blocks);
		g->table_clusters =
			MAX(g->table_clusters, div_round_up(n_entries * 8, q->layer.cluster_len));
	}
}

static void install_reftable(struct qcow2 *q, uint8_t *table, const struct qcow2_growth *g)
{
	uint64_t table_off = (g->first_idx + g->n_blocks) << q->cluster_bits;
	/* A table that was never staged is read by nothing on disk: its space is free at once. */
	bool intermediate = q->reftable.is_moved;
	uint64_t replaced_off = q->hdr.reftable_off;
	uint32_t replaced_clusters = q->hdr.reftable_clusters;

	free(q->reftable.bytes);
	q->reftable.bytes = table;
	q->reftable.n = g->table_clusters * q->layer.cluster_len / 8;
	q->hdr.reftable_off = table_off;
	q->hdr.reftable_clusters = g->table_clusters;
	q->reftable.dirty_lo = q->reftable.dirty_hi = 0;
	q->reftable.is_moved = true;
	qcow2_ref_take(q, g->first_idx << q->cluster_bits,
		       (g->n_blocks + g->table_clusters) << q->cluster_bits);
	if (intermediate) {
		gaps_add(&q->unfreed, replaced_off, (uint64_t)replaced_clusters << q->cluster_bits);
	} else {
		q->reftable.old_off = replaced_off;
		q->reftable.old_clusters = replaced_clusters;
	}
}

/* alloc_end has reached a range the refcount table has no entry for, so no range from here on has a
 * block either. */
int qcow2_reftable_grow(struct qcow2 *q)
{
	uint64_t len, first_range;
	struct qcow2_growth g;
	uint8_t *table;
	int rc = 0;

	/* One switch at a time: the one that is staged must be durable first. Callers try again. */
	if (q->reftable.old_is_staged)
		return -EAGAIN;
	qcow2_plan_growth(q, &g);
	len = g.table_clusters * q->layer.cluster_len;
	if (len > QCOW2_MAX_REFTABLE_LEN)
		return -EFBIG;
	if (qcow2_room(q, g.n_blocks + g.table_clusters) < g.n_blocks + g.table_clusters)
		return qcow2_no_room(q);
	table = calloc(1, len);
	if (!table)
		return -ENOMEM;
	memcpy(table, q->reftable.bytes, q->reftable.n * 8);
	first_range = g.first_idx / q->refs_per_block;
	for (uint64_t i = 0; i < g.n_blocks && !rc; i++) {
		uint64_t host_off = (g.first_idx + i) << q->cluster_bits;

		put_be64(table + 8 * (first_range + i), host_off);
		rc = qcow2_new_block(q, host_off);
	}
	q->layer.alloc_end += (g.n_blocks + g.table_clusters) << q->cluster_bits;
	if (rc)
		free(table);
	else
		install_reftable(q, table, &g);
	return rc;
}

int qcow2_reftable_add(struct qcow2 *q, uint64_t block_idx, uint64_t host_off)
{
	int rc = qcow2_new_block(q, host_off);

	if (rc)
		return rc;
	put_be64(q->reftable.bytes + 8 * block_idx, host_off);
	if (q->reftable.dirty_lo == q->reftable.dirty_hi)
		q->reftable.dirty_lo = q->reftable.dirty_hi = block_idx;
	q->reftable.dirty_lo = MIN(q->reftable.dirty_lo, block_idx);
	q->reftable.dirty_hi = MAX(q->reftable.dirty_hi, block_idx + 1);
	return 0;
}

/* If a refcount block can't be read, the old table stays counted: a leak, and no harm. */
int qcow2_free_replaced(struct qcow2 *q, struct table_need *need)
{
	uint64_t host_off, len;

	while (gaps_take(&q->unfreed, UINT64_MAX, &host_off, &len)) {
		int rc = qcow2_ref_need(q, host_off, len, need);

		if (rc == TABLE_NEED) {
			gaps_add(&q->unfreed, host_off, len);
			return rc;
		}
		if (!rc)
			qcow2_ref_set(q, host_off >> q->cluster_bits, len >> q->cluster_bits, 0);
	}
	return 0;
}

/* Frees the old L1 table: the header leads to the longer one durably (write/resize.c). */
static void free_old_l1(struct qcow2 *q)
{
	if (!q->grown.old_is_staged)
		return;
	q->grown.old_is_staged = false;
	gaps_add(&q->unfreed, q->grown.old_l1_off, q->grown.old_l1_len);
	q->grown.old_l1_off = 0;
}

/* I5: the old table's space is free only now that no crash can bring it back. */
void qcow2_reftable_durable(struct layer *layer)
{
	struct qcow2 *q = qcow2_of(layer);

	free_old_l1(q);
	if (!q->reftable.old_is_staged)
		return;
	q->reftable.old_is_staged = false;
	gaps_add(&q->unfreed, q->reftable.old_off,
		 (uint64_t)q->reftable.old_clusters << q->cluster_bits);
	q->reftable.old_off = 0;
}
