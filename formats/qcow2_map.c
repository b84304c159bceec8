/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: from guest offsets to clusters, and new entries for copied ones.
 *
 * Both directions walk L1 and L2 in cached slices and never wait: the first
 * table that is missing is named and the call starts over when it is there.
 * publish() therefore runs twice over its ranges: first asking for every table
 * it will touch, then changing them. An undo log, so that one pass would do,
 * was rejected: there is nothing to undo when nothing is changed early.
 */
#include <assert.h>
#include <errno.h>

#include "formats/qcow2.h"

/* Where tables may end: a file may stop inside its last cluster. */
static uint64_t file_end(const struct qcow2 *q)
{
	return MAX(round_up(q->layer.file->len, q->layer.cluster_len), q->layer.alloc_end);
}

/* Where cluster data may begin. */
static uint64_t data_end(const struct qcow2 *q)
{
	return qcow2_is_external(q) ? q->layer.data->len : file_end(q);
}

/* The slice of the L1 table that has entry l1_idx, and the entry's byte in it. */
int qcow2_l1_slice(struct qcow2 *q, uint64_t l1_idx, struct table **out, uint32_t *byte,
		   struct table_need *need)
{
	uint64_t table_len = q->l1_size * UINT64_C(8);
	uint64_t slice_off = round_down(l1_idx * 8, TABLE_MAX_LEN);

	*byte = l1_idx * 8 - slice_off;
	return table_get(q->layer.cache, q->layer.file, q->l1_off + slice_off,
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

/* Which slice that is; slices behind it are worth reading with it, up to one that is known to be empty. */
static struct table_need slice_place(const struct qcow2 *q, uint64_t l2_off, uint64_t guest_off)
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

static int read_slice(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off, struct table **out,
		      uint32_t *byte, struct table_need *need)
{
	int rc;

	*byte = l2_byte(q, guest_off) % q->l2_slice_len;
	rc = table_get(q->layer.cache, q->layer.file, l2_off + l2_byte(q, guest_off) - *byte,
		       q->l2_slice_len, out, need);
	if (rc == TABLE_NEED)
		*need = slice_place(q, l2_off, guest_off);
	return rc;
}

/* The L2 slice that maps guest_off in the table at l2_off, and the entry's byte in it. Who asks may
 * change it. */
int qcow2_l2_slice(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off, struct table **out,
		   uint32_t *byte, struct table_need *need)
{
	qcow2_forget_empty(q, guest_off);
	return read_slice(q, l2_off, guest_off, out, byte, need);
}

/* An entry without what extended ones say of its subclusters. */
static int classify(const struct qcow2 *q, uint64_t raw, struct qcow2_entry *e)
{
	e->has_host = true;
	if (raw & QCOW2_COMPRESSED) {
		e->kind = EXTENT_COMPRESSED;
		e->host_off = qcow2_comp_host_off(raw, q->cluster_bits);
		return e->host_off < data_end(q) && !qcow2_is_external(q) ? 0 : -EUCLEAN;
	}
	/* Bits of a meaning to come: what is read here may not be what is meant. */
	if (raw & QCOW2_L2_RESERVED)
		return -EUCLEAN;
	e->host_off = raw & QCOW2_OFF_MASK;
	/* Offset 0 is the header's, but in a data file it is the first cluster's. */
	e->has_host = e->host_off || (qcow2_is_external(q) && raw & QCOW2_COPIED);
	if (!is_aligned(e->host_off, q->layer.cluster_len))
		return -EUCLEAN;
	if (raw & QCOW2_ZERO) {
		e->kind = EXTENT_ZERO;
		return q->version >= 3 ? 0 : -EUCLEAN;
	}
	e->kind = e->has_host ? EXTENT_DATA : EXTENT_UNALLOCATED;
	/* Reading zeros there would make lost data look like none. */
	return !e->has_host || e->host_off < data_end(q) ? 0 : -EUCLEAN;
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
	int rc = classify(q, raw, e);

	return rc || q->l2_entry_len == 8 ? rc : classify_sub(q, raw, be64(bytes + 8), sub, e);
}

/* No L2 table: the hole goes on through the L1 slice's next empty entries. */
static int map_empty_l1(struct qcow2 *q, uint64_t guest_off, uint64_t len, struct extent *out,
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

/* How many of n words from p on are raw, raw + step, raw + 2 * step... Most tables of a large disk hold
 * nothing for most of their length, so words that are all the same go eight at a time. */
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

/* Lengthens *out by the whole clusters whose entries, behind the one at `byte`, differ from it in nothing
 * but the place that follows: what was found of that one holds for them, as far as the data goes. */
static uint32_t extend_alike(const struct qcow2 *q, const struct table *l2, uint32_t byte,
			     uint64_t limit, struct extent *out)
{
	uint64_t raw = be64(l2->bytes + byte), step = out->has_host ? q->layer.cluster_len : 0;
	uint64_t n = MIN(div_round_up(limit - out->len, q->layer.cluster_len),
			 (uint64_t)(l2->len - byte) / 8 - 1);

	if (step) {
		uint64_t host_off = raw & QCOW2_OFF_MASK;
		uint64_t end = MIN(data_end(q), QCOW2_OFF_MASK);

		n = end > host_off ? MIN(n, (end - host_off - 1) / step) : 0;
	}
	n = n_words_like(l2->bytes + byte + 8, n, raw + step, step);
	out->len += n * q->layer.cluster_len;
	return byte + n * 8;
}

/* Lengthens *out, whose last granule is `sub` of the entry at `byte`, by those that go on with it. */
static void extend_run(const struct qcow2 *q, const struct table *l2, uint32_t byte, unsigned sub,
		       uint64_t limit, struct extent *out)
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
		return map_empty_l1(q, guest_off, len, out, need);
	rc = read_slice(q, l2_off, guest_off, &l2, &byte, need);
	if (rc)
		return rc;
	rc = qcow2_entry_read(q, l2->bytes + byte, sub, &first);
	if (rc)
		return rc;
	/* Then all that extend_run() adds lies where it must, too. */
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
	extend_run(q, l2, byte, sub, len, out);
	if (out->kind == EXTENT_UNALLOCATED && out->len == qcow2_l2_slice_span(q) && !byte &&
	    !in_cluster)
		qcow2_note_empty(q, guest_off, out->len);
	return 0;
}

/* ---- publish ---- */

/* The part of [guest_off, end) that one L2 slice maps. */
static uint64_t slice_part(const struct qcow2 *q, uint64_t guest_off, uint64_t end)
{
	return MIN(end, round_down(guest_off, qcow2_l2_slice_span(q)) + qcow2_l2_slice_span(q)) -
	       guest_off;
}

/* Everything publish() will change is in memory, and the entries are still empty. Tables that do
 * not exist yet are counted with their own references by link_l2(). */
static int publish_prepare(struct qcow2 *q, const struct mapping *map, struct table_need *need)
{
	uint64_t end = map->guest_off + map->len, l2_off;
	struct table *l2;
	uint32_t byte;
	int rc;

	for (uint64_t at = map->guest_off, part; at < end; at += part) {
		part = slice_part(q, at, end);
		rc = qcow2_l2_table_off(q, at, &l2_off, need);
		if (rc)
			return rc;
		if (!l2_off)
			continue;
		rc = qcow2_l2_slice(q, l2_off, at, &l2, &byte, need);
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

/* Slices of a new table: those a reader of known-zero space would find empty anyway are left to be
 * loaded from there, but for the last one where it makes the file long enough; elsewhere all are
 * written. What lies behind the table in the file was written before, and the barrier that makes the
 * table durable does so for the file's length. */
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

/* Gives guest_off an (empty) L2 table if it has none. Harmless if publish() stops behind it. */
static int link_l2(struct qcow2 *q, uint64_t guest_off, struct table_need *need)
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

static void set_entries(struct qcow2 *q, const struct mapping *map)
{
	uint64_t end = map->guest_off + map->len, host_off = map->host_off, l2_off;
	struct table_need need;
	struct table *l2;
	uint32_t byte;
	int rc;

	for (uint64_t at = map->guest_off, part; at < end; at += part) {
		uint64_t n;

		part = slice_part(q, at, end);
		n = part >> q->cluster_bits;
		rc = qcow2_l2_table_off(q, at, &l2_off, &need);
		assert(!rc && l2_off);
		rc = qcow2_l2_slice(q, l2_off, at, &l2, &byte, &need);
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

int qcow2_link(struct layer *layer, uint64_t guest_off, uint64_t len, struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t end = guest_off + len;
	int rc = 0;

	if (q->views)
		return qcow2_views_link(q, guest_off, len, need);
	for (uint64_t at = guest_off; !rc && at < end; at += slice_part(q, at, end))
		rc = link_l2(q, at, need);
	return rc;
}

static int prepare_all(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
		       struct table_need *need)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n_maps; i++)
		rc = maps[i].is_zero && q->version < 3 ? -ENOTSUP
						       : publish_prepare(q, &maps[i], need);
	return rc;
}

/* I2: the entry and the reference count that covers it change in the same batch; their stages put
 * the count on disk first. */
int qcow2_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		  struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	int rc;

	if (q->views)
		return qcow2_views_publish(q, maps, n_maps, need);
	rc = prepare_all(q, maps, n_maps, need);
	for (size_t i = 0; !rc && i < n_maps; i++)
		rc = qcow2_link(layer, maps[i].guest_off, maps[i].len, need);
	/* Linking may have made room for its tables by dropping others. */
	if (!rc)
		rc = prepare_all(q, maps, n_maps, need);
	for (size_t i = 0; !rc && i < n_maps; i++)
		set_entries(q, &maps[i]);
	return rc;
}

int qcow2_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		    struct table_need *need)
{
	int rc = qcow2_table_at(layer, guest_off, has, end_off, need);

	/* With snapshots there may be a table for each disk: qcow2_measure() counts them all. */
	*has = !rc && *has && !qcow2_of(layer)->n_snapshots;
	return rc;
}

int qcow2_table_at(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		   struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t l2_off;
	int rc = qcow2_l2_table_off(q, guest_off, &l2_off, need);

	*has = false;
	if (rc)
		return rc;
	*has = l2_off;
	*end_off = round_down(guest_off, qcow2_l2_span(q)) + qcow2_l2_span(q);
	return 0;
}

int qcow2_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		      uint64_t *end_off, struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t l2_off, span;
	int rc = qcow2_l2_table_off(q, guest_off, &l2_off, need);

	if (rc)
		return rc;
	span = l2_off ? qcow2_l2_slice_span(q) : qcow2_l2_span(q);
	*place = slice_place(q, l2_off, guest_off);
	if (!l2_off || qcow2_is_known_empty(q, guest_off))
		place->len = 0;
	*end_off = round_down(guest_off, span) + span;
	return 0;
}
