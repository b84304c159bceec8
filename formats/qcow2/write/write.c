/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: the guest's writes. Space that the guest's disk has for itself
 * (COPIED in L1 and L2, which begin_writing() has audited) is written in place.
 * Everything else gets a new entry: what was never there, what reads zeros,
 * compressed clusters, and clusters that a snapshot reads, too (copy-on-write).
 * What the old entry led to loses a reference, later (space/freed.c).
 *
 * Setting COPIED back in place when a snapshot's last reference goes was
 * rejected: a reference is the other disk's to drop, never ours.
 */
#include "formats/qcow2/write/write.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/header.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

int qcow2_begin_guest_writes(struct layer *layer, struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	struct shown shown;
	/* Bitmaps that are not kept any more would miss the guest's changes. */
	int rc = qcow2_clear_unknown_autoclear(q, QCOW2_AUTOCLEAR_RAW_DATA);

	return rc ? err_errno(err, rc, "%s: cannot take its bitmaps' validity back",
			      file_show(layer->file, &shown))
		  : 0;
}

/* ---- what a write meets ---- */

/* What a write meets in one granule. */
struct target {
	enum write_kind kind;
	enum extent_kind holds;
	bool whole;    /* all of its cluster must move */
	bool has_room; /* NEW: in the cluster that is there */
	uint64_t host_off;
};

static int look_at_entry(const struct qcow2 *q, const uint8_t *bytes, unsigned sub,
			 struct target *t)
{
	bool alone = be64(bytes) & QCOW2_COPIED || qcow2_is_external(q);
	struct qcow2_entry e;
	int rc = qcow2_entry_read(q, bytes, sub, &e);

	if (rc)
		return rc;
	*t = (struct target){ .kind = WRITE_NEW, .holds = e.kind, .host_off = e.host_off };
	if (e.kind == EXTENT_COMPRESSED)
		t->whole = true;
	else if (e.has_host && !alone)
		t->whole = true;
	else if (e.kind == EXTENT_DATA)
		t->kind = WRITE_IN_PLACE;
	else
		t->has_room = e.has_host;
	return 0;
}

/* The L2 table by which the guest's disk maps guest_off (0: it has none), and the L1 entry that
 * leads to it: without COPIED, snapshots read through that table, too. */
static int guest_table(struct qcow2 *q, uint64_t guest_off, uint64_t *l2_off, uint64_t *entry,
		       struct table_need *need)
{
	struct table *l1;
	uint32_t byte;
	int rc = qcow2_l2_table_off(q, guest_off, l2_off, need);

	if (!rc)
		rc = qcow2_l1_slice(q, guest_off / qcow2_l2_span(q), &l1, &byte, need);
	if (!rc)
		*entry = be64(l1->bytes + byte);
	return rc;
}

static void set_shared(const struct qcow2 *q, uint64_t guest_off, struct write_extent *out)
{
	out->kind = WRITE_SHARED;
	out->len = 1;
	out->lock_off = round_down(guest_off, qcow2_l2_span(q));
	out->lock_len = qcow2_l2_span(q);
}

/* `next` continues the range that begins with `first`. */
static bool goes_on(const struct target *first, const struct target *next, uint64_t next_host_off)
{
	if (next->kind != first->kind || next->whole != first->whole ||
	    next->has_room != first->has_room || next->holds != first->holds)
		return false;
	return (first->kind != WRITE_IN_PLACE && !first->has_room) ||
	       next->host_off == next_host_off;
}

static void extend(const struct qcow2 *q, const struct table *l2, uint32_t byte, unsigned sub,
		   const struct target *first, uint64_t limit, struct write_extent *out)
{
	unsigned n_subs = q->layer.cluster_len / q->layer.granule_len;
	uint64_t host_off = first->host_off;

	while (out->len < limit) {
		struct target next;

		host_off += q->layer.granule_len;
		if (++sub == n_subs) {
			sub = 0;
			byte += q->l2_entry_len;
		}
		if (byte >= l2->len || look_at_entry(q, l2->bytes + byte, sub, &next) ||
		    !goes_on(first, &next, host_off))
			break;
		out->len += q->layer.granule_len;
	}
	out->len = MIN(out->len, limit);
}

static void describe_target(const struct qcow2 *q, uint64_t guest_off, const struct target *t,
			    struct write_extent *out)
{
	uint32_t granule_len = q->layer.granule_len, cluster_len = q->layer.cluster_len;

	out->kind = t->kind;
	out->unit_len = t->whole ? cluster_len : granule_len;
	out->len = out->unit_len - (guest_off & (out->unit_len - 1));
	if (t->kind == WRITE_IN_PLACE) {
		out->len = granule_len - (guest_off & (granule_len - 1));
		out->host_off = t->host_off + (guest_off & (granule_len - 1));
	}
	/* Where a cluster with subclusters must move, only one subcluster was looked at: the others
	 * may hold something else. */
	if (!t->whole || granule_len == cluster_len) {
		out->reads_zero = t->holds == EXTENT_ZERO;
		out->is_unallocated = t->holds == EXTENT_UNALLOCATED;
	}
}

int qcow2_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		    struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	unsigned sub = (guest_off - qcow2_cluster_start(q, guest_off)) / layer->granule_len;
	uint64_t l2_off, l1_entry;
	struct target first;
	struct table *l2;
	uint32_t byte;
	int rc = guest_table(q, guest_off, &l2_off, &l1_entry, need);

	*out = (struct write_extent){ .guest_off = guest_off };
	if (rc)
		return rc;
	if (l2_off ? !(l1_entry & QCOW2_COPIED) : q->snapshots != NULL) {
		set_shared(q, guest_off, out);
		return 0;
	}
	if (!l2_off) {
		out->kind = WRITE_NEW;
		out->len = MIN(len, qcow2_l2_span(q) - guest_off % qcow2_l2_span(q));
		out->unit_len = layer->granule_len;
		out->is_unallocated = true;
		return 0;
	}
	rc = qcow2_l2_slice_to_change(q, l2_off, guest_off, &l2, &byte, need);
	if (!rc)
		rc = look_at_entry(q, l2->bytes + byte, sub, &first);
	if (rc)
		return rc;
	if (qcow2_is_external(q) && first.kind == WRITE_IN_PLACE &&
	    first.host_off != round_down(guest_off, layer->granule_len))
		return -EUCLEAN;
	describe_target(q, guest_off, &first, out);
	if (!first.whole)
		extend(q, l2, byte, sub, &first, len, out);
	out->len = MIN(out->len, len);
	return 0;
}

int qcow2_write_target(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct destination *out, struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t l2_off, entry, end = guest_off + len, slice_end;
	uint32_t byte;
	struct table *l2;
	int rc;

	*out = (struct destination){ .has_space = true, .host_off = guest_off, .len = len };
	if (qcow2_is_external(q))
		return 0;
	rc = guest_table(q, guest_off, &l2_off, &entry, need);
	if (!rc)
		rc = l2_off ? qcow2_l2_slice_to_change(q, l2_off, guest_off, &l2, &byte, need)
			    : -EEXIST;
	if (rc)
		return rc;
	slice_end = round_down(guest_off, qcow2_l2_slice_span(q)) + qcow2_l2_slice_span(q);
	out->len = MIN(end, slice_end) - guest_off;
	out->has_space = false;
	for (uint64_t at = guest_off; at < guest_off + out->len;
	     at = qcow2_cluster_start(q, at) + layer->cluster_len, byte += q->l2_entry_len) {
		uint64_t raw = be64(l2->bytes + byte), host_off = raw & QCOW2_OFF_MASK;
		bool has_room = !(raw & QCOW2_COMPRESSED) && raw & QCOW2_COPIED && host_off;

		if (has_room && at == guest_off) {
			out->has_space = true;
			out->host_off = host_off + (at - qcow2_cluster_start(q, at));
			out->len =
				MIN(out->len, qcow2_cluster_start(q, at) + layer->cluster_len - at);
		} else if (has_room) {
			out->len = at - guest_off;
		}
	}
	return 0;
}

/* ---- publish ---- */

static bool is_whole_cluster(const struct qcow2 *q, uint64_t at, uint64_t len)
{
	return len == q->layer.cluster_len && at == qcow2_cluster_start(q, at);
}

/* Everything set_cluster() wants is in memory and as map_write() told it. */
static int prepare_cluster(struct qcow2 *q, const struct mapping *map, uint64_t at, uint64_t len,
			   struct table_need *need)
{
	uint64_t l2_off, l1_entry, raw, host_off = qcow2_mapped_host_off(q, map, at);
	struct table *l2;
	uint32_t byte;
	bool alone;
	int rc = guest_table(q, at, &l2_off, &l1_entry, need);

	if (rc)
		return rc;
	if (!l2_off || !(l1_entry & QCOW2_COPIED))
		return -EEXIST;
	rc = qcow2_l2_slice_to_change(q, l2_off, at, &l2, &byte, need);
	if (rc)
		return rc;
	raw = be64(l2->bytes + byte);
	alone = !(raw & QCOW2_COMPRESSED) &&
		(raw & QCOW2_COPIED || !(raw & QCOW2_OFF_MASK) || qcow2_is_external(q));
	if (!alone && !is_whole_cluster(q, at, len))
		return -EEXIST;
	if (map->is_zero || qcow2_is_external(q) ||
	    (raw & QCOW2_COPIED && (raw & QCOW2_OFF_MASK) == host_off))
		return 0;
	return qcow2_ref_need(q, host_off, q->layer.cluster_len, need);
}

/* The old entry's cluster, or what its compressed bytes touch, loses the reference. */
static void let_go_of_cluster(struct qcow2 *q, uint64_t raw)
{
	uint64_t off = raw & QCOW2_OFF_MASK, end;

	if (qcow2_is_external(q))
		return;
	if (!(raw & QCOW2_COMPRESSED)) {
		if (off)
			qcow2_freed_add(q, off >> q->cluster_bits, 1, true);
		return;
	}
	/* Runs in flight may have reserved other bytes of the same host clusters, which nothing
	 * counts yet: so these clusters are never handed out again. */
	off = qcow2_comp_host_off(raw, q->cluster_bits);
	end = off + qcow2_comp_host_len(raw, q->cluster_bits) - 1;
	qcow2_freed_add(q, off >> q->cluster_bits,
			(end >> q->cluster_bits) - (off >> q->cluster_bits) + 1, false);
}

/* The bitmap in which subclusters [first, first + n) are zeros or data, and the others as
 * before. */
static uint64_t new_bitmap(uint64_t old, uint64_t first, uint64_t n, bool is_zero)
{
	uint64_t mask = ((UINT64_C(1) << n) - 1) << first, zero_mask = mask << QCOW2_SUBCLUSTERS;

	old &= ~(mask | zero_mask);
	return old | (is_zero ? zero_mask : mask);
}

/* Changes the entry at `bytes` for [at, at + len) of its cluster. */
static void set_cluster(struct qcow2 *q, const struct mapping *map, uint64_t at, uint64_t len,
			uint8_t *bytes)
{
	uint64_t raw = be64(bytes), old_off = raw & QCOW2_COMPRESSED ? 0 : raw & QCOW2_OFF_MASK;
	bool alone = !(raw & QCOW2_COMPRESSED) && raw & QCOW2_COPIED;
	bool extended = q->l2_entry_len == 16, whole = is_whole_cluster(q, at, len);
	uint64_t host_off = map->is_zero ? 0 : qcow2_mapped_host_off(q, map, at);
	bool keeps = map->is_zero && alone && (map->keep_space || !whole);
	uint64_t entry = keeps          ? old_off | QCOW2_COPIED
			 : map->is_zero ? 0
					: host_off | QCOW2_COPIED;

	if (map->is_zero && !extended)
		entry |= QCOW2_ZERO;
	if (!keeps && !(alone && !map->is_zero && old_off == host_off)) {
		let_go_of_cluster(q, raw);
		if (!map->is_zero && !qcow2_is_external(q))
			qcow2_ref_take(q, host_off, q->layer.cluster_len);
	}
	put_be64(bytes, entry);
	if (extended)
		put_be64(bytes + 8,
			 new_bitmap(raw & QCOW2_COMPRESSED ? 0 : be64(bytes + 8),
				    (at - qcow2_cluster_start(q, at)) / q->layer.granule_len,
				    len / q->layer.granule_len, map->is_zero));
}

static int prepare_maps(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
			struct table_need *need)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n_maps; i++) {
		uint64_t end = maps[i].guest_off + maps[i].len, part;

		for (uint64_t at = maps[i].guest_off; !rc && at < end; at += part) {
			part = qcow2_len_in_cluster(q, at, end);
			rc = prepare_cluster(q, &maps[i], at, part, need);
		}
	}
	return rc;
}

static void set_map(struct qcow2 *q, const struct mapping *map)
{
	uint64_t end = map->guest_off + map->len, part, l2_off, l1_entry;

	for (uint64_t at = map->guest_off; at < end; at += part) {
		struct table_need need;
		struct table *l2;
		uint32_t byte;
		int rc = guest_table(q, at, &l2_off, &l1_entry, &need);

		part = qcow2_len_in_cluster(q, at, end);
		if (!rc)
			rc = qcow2_l2_slice_to_change(q, l2_off, at, &l2, &byte, &need);
		assert(!rc);
		set_cluster(q, map, at, part, l2->bytes + byte);
		table_mark_dirty(q->layer.cache, l2, byte, q->l2_entry_len, STAGE_TABLE);
	}
}

int qcow2_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
			struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t n_clusters = 0;
	int rc;

	for (size_t i = 0; i < n_maps; i++) {
		if (maps[i].is_zero && !layer->has_zero_entries)
			return -ENOTSUP;
		n_clusters += maps[i].len / layer->cluster_len + 2;
	}
	rc = qcow2_freed_make_room(q, n_clusters);
	if (!rc)
		rc = prepare_maps(q, maps, n_maps, need);
	for (size_t i = 0; !rc && i < n_maps; i++)
		set_map(q, &maps[i]);
	return rc;
}
