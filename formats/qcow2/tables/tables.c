/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * L1 and L2 tables in the cache: which slice has the entry for a guest offset, and what
 * that entry says. The first table that is missing is named; the caller loads it and
 * asks again.
 */
#include "formats/qcow2/tables/tables.h"

#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/tables/empty.h"
#include "io/base.h"

/* Where tables may end: a file may stop inside its last cluster. */
static uint64_t file_end(const struct qcow2 *q)
{
	return MAX(round_up(q->layer.file->len, q->layer.cluster_len), q->layer.alloc_end);
}

uint64_t qcow2_data_end(const struct qcow2 *q)
{
	return qcow2_is_external(q) ? q->layer.data->len : file_end(q);
}

/* The slice of the L1 table that has entry l1_idx, and the entry's byte in it. */
int qcow2_l1_slice(struct qcow2 *q, uint64_t l1_idx, struct table **out, uint32_t *byte,
		   struct table_need *need)
{
	uint64_t table_len = q->hdr.l1_size * UINT64_C(8);
	uint64_t slice_off = round_down(l1_idx * 8, TABLE_MAX_LEN);

	*byte = l1_idx * 8 - slice_off;
	return table_get(q->layer.cache, q->layer.file, q->hdr.l1_off + slice_off,
			 MIN(table_len - slice_off, (uint64_t)TABLE_MAX_LEN), out, need);
}

/* Host offset of the L2 table for guest_off; 0: there is none. */
int qcow2_l2_table_off(struct qcow2 *q, uint64_t guest_off, uint64_t *l2_off,
		       struct table_need *need)
{
	uint64_t end;
	struct table *l1;
	uint32_t byte;
	int rc = qcow2_l1_slice(q, guest_off / qcow2_l2_span(q), &l1, &byte, need);

	if (rc)
		return rc;
	if (be64(l1->bytes + byte) & QCOW2_L1_RESERVED)
		return -EUCLEAN;
	*l2_off = be64(l1->bytes + byte) & QCOW2_OFF_MASK;
	if (!*l2_off)
		return 0;
	if (!is_aligned(*l2_off, q->layer.cluster_len) ||
	    add_u64(*l2_off, q->layer.cluster_len, &end) || end > file_end(q))
		return -EUCLEAN;
	return 0;
}

/* The byte in its L2 table of the entry that maps guest_off. */
static uint64_t l2_byte(const struct qcow2 *q, uint64_t guest_off)
{
	return ((guest_off % qcow2_l2_span(q)) >> q->cluster_bits) * q->l2_entry_len;
}

struct table_need qcow2_slice_place(const struct qcow2 *q, uint64_t l2_off, uint64_t guest_off)
{
	uint64_t slice_off = round_down(l2_byte(q, guest_off), q->l2_slice_len), off = slice_off;
	uint64_t at = guest_off;

	do {
		off += q->l2_slice_len;
		at += qcow2_l2_slice_span(q);
	} while (off < q->layer.cluster_len && !qcow2_is_known_empty(q, at));
	return (struct table_need){ .file = q->layer.file,
				    .host_off = l2_off + slice_off,
				    .len = q->l2_slice_len,
				    .more_len = off - slice_off - q->l2_slice_len };
}

int qcow2_l2_slice(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off, struct table **out,
		   uint32_t *byte, struct table_need *need)
{
	int rc;

	*byte = l2_byte(q, guest_off) % q->l2_slice_len;
	rc = table_get(q->layer.cache, q->layer.file, l2_off + l2_byte(q, guest_off) - *byte,
		       q->l2_slice_len, out, need);
	if (rc == TABLE_NEED)
		*need = qcow2_slice_place(q, l2_off, guest_off);
	return rc;
}

/* The L2 slice that maps guest_off in the table at l2_off, and the entry's byte in it. The
 * caller may change it. */
int qcow2_l2_slice_to_change(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off,
			     struct table **out, uint32_t *byte, struct table_need *need)
{
	qcow2_forget_empty(q, guest_off);
	return qcow2_l2_slice(q, l2_off, guest_off, out, byte, need);
}

/* An entry without what extended ones say of its subclusters. */
static int qcow2_classify(const struct qcow2 *q, uint64_t raw, struct qcow2_entry *e)
{
	e->has_host = true;
	if (raw & QCOW2_COMPRESSED) {
		e->kind = EXTENT_COMPRESSED;
		e->host_off = qcow2_comp_host_off(raw, q->cluster_bits);
		return e->host_off < qcow2_data_end(q) && !qcow2_is_external(q) ? 0 : -EUCLEAN;
	}
	/* Reserved bits may get a meaning: what this code reads is then not what was meant. */
	if (raw & QCOW2_L2_RESERVED)
		return -EUCLEAN;
	e->host_off = raw & QCOW2_OFF_MASK;
	/* Offset 0 is the header's, but in a data file it is the first cluster's. */
	e->has_host = e->host_off || (qcow2_is_external(q) && raw & QCOW2_COPIED);
	if (!is_aligned(e->host_off, q->layer.cluster_len))
		return -EUCLEAN;
	if (raw & QCOW2_ZERO) {
		e->kind = EXTENT_ZERO;
		return q->hdr.version >= 3 ? 0 : -EUCLEAN;
	}
	e->kind = e->has_host ? EXTENT_DATA : EXTENT_UNALLOCATED;
	/* Reading zeros there would make lost data look like none. */
	return !e->has_host || e->host_off < qcow2_data_end(q) ? 0 : -EUCLEAN;
}

/* Subcluster `sub` of an extended entry whose first half is in *e. */
static int classify_sub(const struct qcow2 *q, uint64_t raw, uint64_t bitmap, unsigned sub,
			struct qcow2_entry *e)
{
	bool data = bitmap >> sub & 1, zero = bitmap >> (QCOW2_SUBCLUSTERS + sub) & 1;

	if (e->kind == EXTENT_COMPRESSED)
		return bitmap ? -EUCLEAN : 0;
	if (raw & QCOW2_ZERO || (data && (zero || !e->has_host)))
		return -EUCLEAN;
	e->kind = data ? EXTENT_DATA : zero ? EXTENT_ZERO : EXTENT_UNALLOCATED;
	e->host_off += sub * q->layer.granule_len;
	return 0;
}

int qcow2_entry_read(const struct qcow2 *q, const uint8_t *bytes, unsigned sub,
		     struct qcow2_entry *e)
{
	uint64_t raw = be64(bytes);
	int rc = qcow2_classify(q, raw, e);

	return rc || q->l2_entry_len == 8 ? rc : classify_sub(q, raw, be64(bytes + 8), sub, e);
}

/* ---- for publishing ---- */

uint64_t qcow2_len_in_slice(const struct qcow2 *q, uint64_t guest_off, uint64_t end)
{
	return MIN(end, round_down(guest_off, qcow2_l2_slice_span(q)) + qcow2_l2_slice_span(q)) -
	       guest_off;
}

/* Where the space is known to read zeros, only the slice that is about to get an entry is made, and
 * the last one if the file must become longer for it: the others are loaded from the disk, empty.
 * Elsewhere all slices are made and written. The barrier that makes the table durable covers the
 * file's length, too. */
int qcow2_new_l2_slices(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off)
{
	uint64_t table_byte = l2_byte(q, guest_off);
	uint32_t last = q->layer.cluster_len - q->l2_slice_len;
	bool known_zero = l2_off >= q->layer.zero_from;
	bool is_end = l2_off + q->layer.cluster_len > q->layer.file->len;

	qcow2_note_empty(q, round_down(guest_off, qcow2_l2_span(q)), qcow2_l2_span(q));
	for (uint32_t off = 0; off <= last; off += q->l2_slice_len) {
		struct table *slice;

		if (known_zero && (off != last || !is_end) &&
		    off != round_down(table_byte, q->l2_slice_len))
			continue;
		slice = table_new(q->layer.cache, q->layer.file, l2_off + off, q->l2_slice_len,
				  STAGE_TABLE);
		if (!slice)
			return -ENOMEM;
		if (!known_zero)
			table_mark_dirty(q->layer.cache, slice, 0, slice->len, STAGE_TABLE);
		else if (off == last && is_end)
			table_mark_dirty(q->layer.cache, slice, slice->len - TABLE_SECTOR_LEN,
					 TABLE_SECTOR_LEN, STAGE_TABLE);
	}
	return 0;
}
