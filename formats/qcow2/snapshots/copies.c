/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: which copies a cluster needs that L2 tables lack, and where they go.
 *
 * Tables that lack a cluster share one copy of it, as they shared the backing
 * file's: its refcount is the number of L1 entries that lead to it, and COPIED
 * is set where that is one. More copies are needed where the refcount's width
 * does not reach, and where a table has a cluster of its own already, of which
 * only some subclusters are allocated: those get theirs in place.
 *
 * Nothing is remembered between copy_target() and publish(): both compute the
 * same copies from the same entries, which the range's lock keeps as they are.
 * Handing the engine a list of tables was rejected: it would know what an L2
 * table is.
 */
#include "formats/qcow2/snapshots/copies.h"

#include <errno.h>
#include <stdbool.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/map.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"

/* One less than the width allows, because going back to a snapshot counts its clusters once more
 * before it lets the others go, and must stay possible. */
uint64_t qcow2_max_shared(const struct qcow2 *q)
{
	if (q->hdr.refcount_order == 6)
		return UINT64_MAX;
	return MAX((UINT64_C(1) << (1u << q->hdr.refcount_order)) - 2, UINT64_C(1));
}

/* Adds a table's references to the copy whose cluster is at host_off (0: a copy without space yet
 * that has room for them), or to a new copy. Returns the copy's number. */
static int join_copy(const struct qcow2 *q, uint64_t host_off, uint32_t weight)
{
	struct qcow2_snapshots *s = q->snapshots;
	uint32_t i;

	for (i = 0; i < s->n_copies; i++)
		if (s->copy_host_off[i] == host_off &&
		    (host_off || s->copy_weight[i] + weight <= qcow2_max_shared(q)))
			break;
	if (i == s->n_copies) {
		s->copy_host_off[s->n_copies] = host_off;
		s->copy_weight[s->n_copies++] = 0;
	}
	s->copy_weight[i] += weight;
	return (int)i;
}

/* The entry of a table for guest_off's granule; its cluster's host offset, or 0. */
static int read_entry(struct qcow2 *q, const struct qcow2_view_table *table, uint64_t guest_off,
		      struct qcow2_entry *entry, uint64_t *cluster_off, struct table_need *need)
{
	int rc = qcow2_view_entry(q, table, guest_off, entry, need);

	*cluster_off = 0;
	if (!rc && entry->has_host && entry->kind != EXTENT_COMPRESSED)
		*cluster_off = round_down(entry->host_off, q->layer.cluster_len);
	return rc;
}

int qcow2_find_copies(struct qcow2 *q, uint64_t guest_off, struct table_need *need)
{
	struct qcow2_snapshots *s = q->snapshots;
	int rc = qcow2_snapshots_find_tables(q, guest_off / qcow2_l2_span(q), need);

	s->n_copies = 0;
	s->departed_target = -1;
	for (uint32_t i = 0; !rc && i < s->n_tables; i++) {
		struct qcow2_view_table *table = &s->tables[i];
		struct qcow2_entry entry;
		uint64_t cluster_off;

		table->copy = -1;
		if (!table->l2_off || !qcow2_view_sees(table, guest_off))
			continue;
		rc = read_entry(q, table, guest_off, &entry, &cluster_off, need);
		if (!rc && entry.kind == EXTENT_UNALLOCATED)
			table->copy = join_copy(q, cluster_off, table->weight);
		if (table->copy >= 0 && s->has_departed &&
		    qcow2_freed_is_fresh(q, table->l2_off >> q->cluster_bits))
			s->departed_target = table->copy;
	}
	return rc;
}

/* Subclusters may be written into a cluster only if no table reads them there: all references to
 * the cluster come from this guest offset, and no table here says that the granule holds data. */
static int may_write_into(struct qcow2 *q, uint64_t guest_off, uint64_t host_off,
			  struct table_need *need)
{
	struct qcow2_snapshots *s = q->snapshots;
	uint64_t n_refs = 0, refcount;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < s->n_tables; i++) {
		struct qcow2_entry entry;
		uint64_t cluster_off;

		if (!s->tables[i].l2_off)
			continue;
		rc = read_entry(q, &s->tables[i], guest_off, &entry, &cluster_off, need);
		if (rc || cluster_off != host_off)
			continue;
		n_refs += s->tables[i].weight;
		if (entry.kind == EXTENT_DATA)
			rc = -ENOTSUP;
	}
	if (!rc)
		rc = qcow2_ref_get(q, host_off >> q->cluster_bits, &refcount, need);
	/* References that the guest's disk has dropped and that are counted still. */
	n_refs += qcow2_freed_pending(q, host_off >> q->cluster_bits);
	return rc ? rc : refcount == n_refs ? 0 : -ENOTSUP;
}

/* The guest's disk takes this copy of the cluster at guest_off. */
static bool is_guests_copy(const struct qcow2 *q, uint64_t guest_off, unsigned copy)
{
	const struct qcow2_snapshots *s = q->snapshots;

	for (uint32_t i = 0; i < s->n_tables; i++)
		if (s->tables[i].is_guests && s->tables[i].copy == (int)copy)
			return guest_off < q->layer.guest_len;
	return false;
}

static bool all_copies_are_new(const struct qcow2_snapshots *s)
{
	for (uint32_t i = 0; i < s->n_copies; i++)
		if (s->copy_host_off[i])
			return false;
	return true;
}

/* Lowers *end to where the clusters behind guest_off's are lacked by other tables than that one:
 * those up to there go to the same copies. All copies of the first cluster are new. */
static int extend_copies(struct qcow2 *q, uint64_t guest_off, uint64_t *end,
			 struct table_need *need)
{
	struct qcow2_snapshots *s = q->snapshots;
	uint64_t at = qcow2_cluster_start(q, guest_off) + q->layer.cluster_len;
	uint32_t n_copies = s->n_copies;
	bool is_guests = is_guests_copy(q, guest_off, 0);

	if (s->n_copies > 1) { /* rare: a cluster at a time */
		*end = MIN(*end, at);
		return 0;
	}
	for (; at < *end; at += q->layer.cluster_len) {
		int rc = qcow2_find_copies(q, at, need);

		if (rc)
			return rc;
		if (s->n_copies != n_copies || !all_copies_are_new(s) ||
		    is_guests_copy(q, at, 0) != is_guests)
			*end = at;
	}
	return 0;
}

int qcow2_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		      struct destination *out, struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	struct qcow2_snapshots *s = q->snapshots;
	uint64_t slice_end, end = guest_off + len, in_cluster;
	int rc;

	*out = (struct destination){ .len = len };
	if (qcow2_is_external(q)) { /* there is one place for it, and one disk that lacks it */
		out->has_space = true;
		out->host_off = guest_off;
		return copy ? -ENOENT : 0;
	}
	if (!s)
		return copy ? -ENOENT : 0;
	rc = qcow2_find_copies(q, guest_off, need);
	if (rc)
		return rc;
	if (copy >= s->n_copies)
		return copy ? -ENOENT : -EEXIST;
	slice_end = round_down(guest_off, qcow2_l2_slice_span(q)) + qcow2_l2_slice_span(q);
	end = qcow2_snapshots_boundary(q, guest_off, MIN(end, slice_end));
	in_cluster = guest_off - qcow2_cluster_start(q, guest_off);
	out->for_snapshots = !is_guests_copy(q, guest_off, copy);
	if (all_copies_are_new(s)) {
		rc = extend_copies(q, guest_off, &end, need);
	} else {
		end = MIN(end, guest_off - in_cluster + layer->cluster_len);
		out->has_space = s->copy_host_off[copy];
		if (out->has_space)
			rc = may_write_into(q, guest_off, s->copy_host_off[copy], need);
		out->host_off = s->copy_host_off[copy] + in_cluster;
	}
	out->len = end - guest_off;
	return rc;
}

int qcow2_copy_weight(struct qcow2 *q, uint64_t guest_off, unsigned copy, uint64_t *weight,
		      struct table_need *need)
{
	int rc = qcow2_find_copies(q, guest_off, need);

	if (!rc && copy >= q->snapshots->n_copies)
		rc = -EEXIST;
	*weight = rc ? 0 : q->snapshots->copy_weight[copy];
	return rc;
}
