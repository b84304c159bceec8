/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Guest offsets to extents, for the guest's disk of an image. */
#include "formats/qcow2/tables/map.h"

#include <errno.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/core/two_level.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/tables/empty.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"

/* Without an L2 table: the unallocated extent goes on through the L1 slice's next empty entries. */
static int qcow2_map_empty_l1(struct qcow2 *q, uint64_t guest_off, uint64_t len, struct extent *out,
			      struct table_need *need)
{
	uint64_t l1_idx = guest_off / qcow2_l2_span(q);
	uint64_t end = (l1_idx + 1) * qcow2_l2_span(q);
	struct table *l1;
	uint32_t byte;
	int rc = qcow2_l1_slice(q, l1_idx, &l1, &byte, need);

	if (rc)
		return rc;
	for (byte += 8; byte + 8 <= l1->len && end < guest_off + len; byte += 8) {
		if (be64(l1->bytes + byte) & (QCOW2_OFF_MASK | QCOW2_L1_RESERVED))
			break;
		end += qcow2_l2_span(q);
	}
	out->kind = EXTENT_UNALLOCATED;
	out->len = MIN(len, end - guest_off);
	return 0;
}

/* How many of n words from p on are raw, raw + step, raw + 2 * step... Most tables of a large disk
 * hold nothing for most of their length, so words that are all the same go eight at a time. */
static uint64_t n_words_like(const uint8_t *p, uint64_t n, uint64_t raw, uint64_t step)
{
	uint64_t i = 0, same, word;

	put_be64((uint8_t *)&same, raw);
	for (; !step && i + 8 <= n; i += 8) {
		uint64_t differ = 0;

		for (unsigned k = 0; k < 8; k++) {
			memcpy(&word, p + (i + k) * 8, 8);
			differ |= word ^ same;
		}
		if (differ)
			break;
	}
	for (; i < n && be64(p + i * 8) == raw + i * step; i++)
		;
	return i;
}

/* Lengthens *out by the whole clusters whose entries behind the one at `byte` are the same word,
 * or, with a host offset, each the word before plus one cluster: what was found of the first entry
 * holds for them, up to the end of the data. Returns the byte of the last entry that is alike. */
static uint32_t extend_alike(const struct qcow2 *q, const struct table *l2, uint32_t byte,
			     uint64_t limit, struct extent *out)
{
	uint64_t raw = be64(l2->bytes + byte), step = out->has_host ? q->layer.cluster_len : 0;
	uint64_t n = MIN(div_round_up(limit - out->len, q->layer.cluster_len),
			 (uint64_t)(l2->len - byte) / 8 - 1);

	if (step) {
		uint64_t host_off = raw & QCOW2_OFF_MASK;
		uint64_t end = MIN(qcow2_data_end(q), QCOW2_OFF_MASK);

		n = end > host_off ? MIN(n, (end - host_off - 1) / step) : 0;
	}
	n = n_words_like(l2->bytes + byte + 8, n, raw + step, step);
	out->len += n * q->layer.cluster_len;
	return byte + n * 8;
}

/* Lengthens *out, whose last granule is `sub` of the entry at `byte`, by those that go on with
 * it. */
static void qcow2_extend_extent(const struct qcow2 *q, const struct table *l2, uint32_t byte,
				unsigned sub, uint64_t limit, struct extent *out)
{
	unsigned n_subs = q->layer.cluster_len / q->layer.granule_len;

	if (n_subs == 1 && out->len < limit)
		byte = extend_alike(q, l2, byte, limit, out);
	while (out->len < limit) {
		struct qcow2_entry next;

		if (++sub == n_subs) {
			sub = 0;
			byte += q->l2_entry_len;
		}
		if (byte >= l2->len || qcow2_entry_read(q, l2->bytes + byte, sub, &next) ||
		    next.kind != out->kind)
			break;
		if (out->kind != EXTENT_UNALLOCATED &&
		    (next.has_host != out->has_host ||
		     (out->has_host && next.host_off != out->host_off + out->len)))
			break;
		out->len += q->layer.granule_len;
	}
	out->len = MIN(out->len, limit);
}

int qcow2_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
	      struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t l2_off, in_cluster = guest_off & (layer->cluster_len - 1);
	uint32_t in_granule = guest_off & (layer->granule_len - 1);
	unsigned sub = in_cluster / layer->granule_len;
	struct qcow2_entry first;
	struct table *l2;
	uint32_t byte;
	int rc;

	*out = (struct extent){ .guest_off = guest_off };
	out->len = qcow2_known_empty_len(q, guest_off, len);
	if (out->len) {
		out->kind = EXTENT_UNALLOCATED;
		return 0;
	}
	rc = qcow2_l2_table_off(q, guest_off, &l2_off, need);
	if (rc)
		return rc;
	if (!l2_off)
		return qcow2_map_empty_l1(q, guest_off, len, out, need);
	rc = qcow2_l2_slice(q, l2_off, guest_off, &l2, &byte, need);
	if (rc)
		return rc;
	rc = qcow2_entry_read(q, l2->bytes + byte, sub, &first);
	if (rc)
		return rc;
	/* In a data file the guest's byte N lies at N. If the first granule does, all that
	 * qcow2_extend_extent() adds does, too. */
	if (qcow2_is_external(q) && first.kind == EXTENT_DATA &&
	    first.host_off != guest_off - in_granule)
		return -EUCLEAN;
	out->kind = first.kind;
	out->has_host = first.has_host && first.kind != EXTENT_UNALLOCATED;
	out->host_off = out->has_host ? first.host_off : 0;
	if (first.kind == EXTENT_COMPRESSED) {
		out->len = MIN(len, layer->cluster_len - in_cluster);
		out->host_len = qcow2_comp_host_len(be64(l2->bytes + byte), q->cluster_bits);
		out->skip = in_cluster;
		return 0;
	}
	if (out->has_host)
		out->host_off += in_granule;
	out->len = MIN(len, layer->granule_len - in_granule);
	qcow2_extend_extent(q, l2, byte, sub, len, out);
	if (out->kind == EXTENT_UNALLOCATED && out->len == qcow2_l2_slice_span(q) && !byte &&
	    !in_cluster)
		qcow2_note_empty(q, guest_off, out->len);
	return 0;
}

/* ---- where tables are ---- */

static int qcow2_lookup_l2_off(struct layer *layer, uint64_t guest_off, uint64_t *l2_off,
			       struct table_need *need)
{
	return qcow2_l2_table_off(qcow2_of(layer), guest_off, l2_off, need);
}

static struct table_need qcow2_lookup_slice(const struct layer *layer, uint64_t l2_off,
					    uint64_t guest_off)
{
	const struct qcow2 *q = qcow2_of(layer);
	struct table_need place = qcow2_slice_place(q, l2_off, guest_off);

	if (qcow2_is_known_empty(q, guest_off))
		place.len = 0;
	return place;
}

static uint64_t qcow2_lookup_l2_span(const struct layer *layer)
{
	return qcow2_l2_span(qcow2_of(layer));
}

static uint64_t qcow2_lookup_slice_span(const struct layer *layer)
{
	return qcow2_l2_slice_span(qcow2_of(layer));
}

static const struct two_level_lookup lookup = {
	.l2_off = qcow2_lookup_l2_off,
	.slice = qcow2_lookup_slice,
	.l2_span = qcow2_lookup_l2_span,
	.slice_span = qcow2_lookup_slice_span,
};

int qcow2_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		    struct table_need *need)
{
	int rc = qcow2_table_at(layer, guest_off, has, end_off, need);

	/* With snapshots there may be a table for each disk: qcow2_measure() counts them all. */
	*has = !rc && *has && !qcow2_of(layer)->hdr.n_snapshots;
	return rc;
}

int qcow2_table_at(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		   struct table_need *need)
{
	return two_level_table_at(layer, &lookup, guest_off, has, end_off, need);
}

int qcow2_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		      uint64_t *end_off, struct table_need *need)
{
	return two_level_table_place(layer, &lookup, guest_off, place, end_off, need);
}
