/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: a longer disk needs a longer L1 table. It is written behind everything the
 * image has ever used, counted, and then named by the header, with one write inside sector 0
 * that may also lead to a new refcount table. The old one is counted free behind that.
 * Growing in place was rejected: what follows belongs to others, and a cached slice of
 * the table would have another length than the one on disk.
 */
#include "formats/qcow2/write/resize.h"

#include <errno.h>
#include <inttypes.h>

#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/core/layer_resize.h"
#include "formats/core/staged.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/reftable.h"
#include "formats/qcow2/tables/empty.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

static uint64_t l1_len_for(const struct qcow2 *q, uint64_t guest_len)
{
	return div_round_up(guest_len, qcow2_l2_span(q)) * 8;
}

static const char *why_not(const struct qcow2 *q)
{
	/* Bitmaps are as long as the disk, and recorded in tables that nothing here changes. */
	if (q->bitmaps.is_present && q->hdr.autoclear & QCOW2_AUTOCLEAR_BITMAPS)
		return "it has bitmaps, which are of the disk's old size; remove them with "
		       "qemu-img bitmap";
	if (q->hdr.n_snapshots && q->hdr.version < 3)
		return "it is of version 2 and has internal snapshots, which would change their "
		       "size with the disk's; delete them, or make it version 3 (compat=1.1)";
	if (q->snapshots && q->snapshots->has_no_len)
		return "an internal snapshot records no size of its own, and would change it with "
		       "the disk's; delete it";
	if (qcow2_is_external(q) && q->hdr.autoclear & QCOW2_AUTOCLEAR_RAW_DATA)
		return "its data file is marked to be the guest's disk by itself, and must grow "
		       "with entries for all of it, which qemu-img resize makes";
	return NULL;
}

int qcow2_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err)
{
	const struct qcow2 *q = qcow2_of(layer);
	const char *why = why_not(q);
	struct shown shown;

	if (why)
		return err_set(err, -ENOTSUP, "%s: it can't be made longer: %s",
			       file_show(layer->file, &shown), why);
	if (l1_len_for(q, guest_len) > QCOW2_MAX_L1_LEN)
		return err_set(err, -EFBIG,
			       "%s: with clusters of %" PRIu32 " bytes a disk has at most %" PRIu64
			       " bytes",
			       file_show(layer->file, &shown), layer->cluster_len,
			       QCOW2_MAX_L1_LEN / 8 * qcow2_l2_span(q));
	return 0;
}

/* What is taken behind the end: blocks for the ranges that have none, then the table. */
struct room {
	uint64_t first_idx, n_blocks, n_clusters; /* n_clusters: all of them */
};

static uint64_t missing_blocks(const struct qcow2 *q, uint64_t first_idx, uint64_t n)
{
	uint64_t missing = 0;

	for (uint64_t i = first_idx / q->refs_per_block;
	     i <= (first_idx + n - 1) / q->refs_per_block; i++)
		missing += i >= q->reftable.n || !qcow2_block_off(q, i);
	return missing;
}

static void plan_room(const struct qcow2 *q, uint64_t table_clusters, struct room *room)
{
	uint64_t missing;

	*room = (struct room){ .first_idx = q->layer.alloc_end >> q->cluster_bits };
	for (;;) {
		room->n_clusters = room->n_blocks + table_clusters;
		missing = missing_blocks(q, room->first_idx, room->n_clusters);
		if (missing <= room->n_blocks)
			return;
		room->n_blocks = missing;
	}
}

/* Asks for the refcount slices, as far as their blocks exist, of the clusters that will be
 * taken. */
static int need_slices(struct qcow2 *q, const struct room *room, struct table_need *need)
{
	uint64_t idx = room->first_idx, end = idx + room->n_clusters;

	while (idx < end) {
		uint64_t next = MIN(round_down(idx, q->refs_per_block) + q->refs_per_block, end);
		int rc = 0;

		if (qcow2_block_off(q, idx / q->refs_per_block))
			rc = qcow2_ref_need(q, idx << q->cluster_bits,
					    (next - idx) << q->cluster_bits, need);
		if (rc)
			return rc;
		idx = next;
	}
	return 0;
}

static int add_blocks(struct qcow2 *q, const struct room *room)
{
	uint64_t last = (room->first_idx + room->n_clusters - 1) / q->refs_per_block, n = 0;

	for (uint64_t i = room->first_idx / q->refs_per_block; i <= last; i++) {
		int rc;

		if (qcow2_block_off(q, i))
			continue;
		rc = qcow2_reftable_add(q, i, (room->first_idx + n) << q->cluster_bits);
		if (rc)
			return rc;
		n++;
	}
	return 0;
}

/* Takes the clusters that were planned, and counts them. */
static int take_grown_room(struct qcow2 *q, const struct room *room)
{
	int rc = add_blocks(q, room);

	q->layer.alloc_end += room->n_clusters << q->cluster_bits;
	if (rc)
		return rc;
	qcow2_ref_take(q, room->first_idx << q->cluster_bits, room->n_clusters << q->cluster_bits);
	return 0;
}

/* The room would begin in a range that the refcount table has an entry for, and end in one that it
 * has not: it begins behind all of those instead. What is passed over is free, and less than a
 * table. */
static int lengthen_reftable(struct qcow2 *q, uint64_t first_idx)
{
	uint64_t end_idx = q->reftable.n * q->refs_per_block;
	uint64_t range_end = round_down(first_idx, q->refs_per_block) + q->refs_per_block;

	if (q->reftable.old_is_staged)
		return -EAGAIN;
	if (first_idx < end_idx) {
		q->layer.alloc_end = end_idx << q->cluster_bits;
		if (qcow2_block_off(q, first_idx / q->refs_per_block))
			gaps_add(&q->gaps, first_idx << q->cluster_bits,
				 (range_end - first_idx) << q->cluster_bits);
	}
	return qcow2_reftable_grow(q);
}

int qcow2_grow_tables(struct layer *layer, uint64_t guest_len, struct table_move *move,
		      struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t len = l1_len_for(q, guest_len), n = div_round_up(len, layer->cluster_len);
	struct room room;
	int rc = 0;

	if (len <= q->hdr.l1_size * UINT64_C(8))
		return 0;
	plan_room(q, n, &room);
	if ((room.first_idx + room.n_clusters - 1) / q->refs_per_block >= q->reftable.n) {
		rc = lengthen_reftable(q, room.first_idx);
		return rc ? rc : qcow2_grow_tables(layer, guest_len, move, need);
	}
	if (qcow2_room(q, room.n_clusters) < room.n_clusters)
		return qcow2_no_room(q);
	rc = need_slices(q, &room, need);
	if (!rc)
		rc = take_grown_room(q, &room);
	if (rc)
		return rc;
	*move = (struct table_move){
		.from_off = q->hdr.l1_off,
		.from_len = q->hdr.l1_size * UINT64_C(8),
		.to_off = (room.first_idx + room.n_blocks) << q->cluster_bits,
		.to_len = n << q->cluster_bits,
	};
	return 0;
}

void qcow2_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len)
{
	struct qcow2 *q = qcow2_of(layer);

	if (move->to_len) {
		q->grown.old_l1_off = q->hdr.l1_off;
		q->grown.old_l1_len = round_up(move->from_len, layer->cluster_len);
		q->hdr.l1_off = move->to_off;
		q->hdr.l1_size = l1_len_for(q, guest_len) / 8;
		q->grown.is_dirty = true;
	}
	layer->guest_len = guest_len;
	layer->backed_len = guest_len;
	for (uint32_t i = 0; q->snapshots && i < q->snapshots->n_snapshots; i++)
		layer->backed_len = MAX(layer->backed_len, q->snapshots->snapshots[i].guest_len);
	qcow2_forget_all_empty(q); /* there are bits for the disk as it was */
	if (q->snapshots)
		q->snapshots->tables_l1_idx = UINT64_MAX;
}

void qcow2_record_len(struct layer *layer)
{
	struct qcow2 *q = qcow2_of(layer);

	q->hdr.guest_len = layer->guest_len;
	q->grown.is_dirty = true;
}

void qcow2_keep_len(struct layer *layer, uint64_t guest_len, struct staged *staged)
{
	struct qcow2 *q = qcow2_of(layer);
	uint8_t bytes[8];

	q->hdr.guest_len = guest_len;
	put_be64(bytes, guest_len);
	if (staged)
		staged_patch(staged, STAGE_REFTABLE, layer->file, QCOW2_H_SIZE, bytes,
			     sizeof(bytes));
}

int qcow2_stage_len(struct qcow2 *q, struct staged *staged, bool *added)
{
	uint8_t fields[QCOW2_H_N_SNAPSHOTS - QCOW2_H_SIZE];
	int rc;

	*added = false;
	if (!q->grown.is_dirty)
		return 0;
	put_be64(fields, q->hdr.guest_len);
	put_be32(fields + QCOW2_H_CRYPT - QCOW2_H_SIZE, q->hdr.crypt_method);
	put_be32(fields + QCOW2_H_L1_SIZE - QCOW2_H_SIZE, q->hdr.l1_size);
	put_be64(fields + QCOW2_H_L1_OFF - QCOW2_H_SIZE, q->hdr.l1_off);
	put_be64(fields + QCOW2_H_REFTABLE_OFF - QCOW2_H_SIZE, q->hdr.reftable_off);
	put_be32(fields + QCOW2_H_REFTABLE_CLUSTERS - QCOW2_H_SIZE, q->hdr.reftable_clusters);
	rc = staged_add(staged, STAGE_REFTABLE, q->layer.file, QCOW2_H_SIZE, fields,
			sizeof(fields));
	if (rc)
		return rc;
	*added = true;
	q->grown.is_dirty = false;
	q->grown.old_is_staged = q->grown.old_l1_off;
	return 0;
}
