/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: an L2 table of the guest's own, where it has none or shares it with a
 * snapshot. The copy is a new table that nothing on disk reaches before the
 * commit that writes it whole; then the L1 entry leads to it, and only when
 * that is durable the old one counts a reference less (I2, I5).
 *
 * Data clusters keep their counts: they count L1 entries that lead to them, and
 * those are as many as before. Changing the shared table in place, for all of
 * its disks, was rejected: a snapshot is what must not change.
 */
#include "formats/qcow2/write/unshare.h"

#include <errno.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_shared.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/space.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"

/* Slice by slice: a small cache has no room for both tables at once. */
static int copy_table(struct qcow2 *q, uint64_t from_off, struct unshare *state,
		      struct table_need *need)
{
	for (; state->done_len < q->layer.cluster_len; state->done_len += q->l2_slice_len) {
		struct table *from, *to;
		int rc = table_get(q->layer.cache, q->layer.file, from_off + state->done_len,
				   q->l2_slice_len, &from, need);

		if (rc)
			return rc;
		/* table_new() may evict tables, but never `from`: it was used last. */
		to = table_new(q->layer.cache, q->layer.file, state->new_off + state->done_len,
			       q->l2_slice_len, STAGE_TABLE);
		if (!to)
			return -ENOMEM;
		memcpy(to->bytes, from->bytes, q->l2_slice_len);
		table_mark_dirty(q->layer.cache, to, 0, q->l2_slice_len, STAGE_TABLE);
	}
	return 0;
}

/* A commit may write slices of the new table before any entry leads to it: that is harmless. */
static int make_table(struct qcow2 *q, uint64_t old_off, uint64_t guest_off, struct unshare *state,
		      struct table_need *need)
{
	int rc = 0;

	if (!state->new_off)
		rc = qcow2_reserve_table(q, &state->new_off, need);
	/* From here on the space stays ours: slices of it may be in the cache. */
	if (rc || state->done_len == q->layer.cluster_len)
		return rc;
	if (old_off)
		return copy_table(q, old_off, state, need);
	rc = qcow2_new_l2_slices(q, state->new_off, guest_off);
	if (!rc)
		state->done_len = q->layer.cluster_len;
	return rc;
}

int qcow2_unshare(struct layer *layer, uint64_t guest_off, struct unshare *state,
		  struct table_need *need)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t l1_idx = guest_off / qcow2_l2_span(q), old_off, entry;
	struct table *l1;
	uint32_t byte;
	int rc = qcow2_l1_slice(q, l1_idx, &l1, &byte, need);

	if (rc)
		return rc;
	entry = be64(l1->bytes + byte);
	old_off = entry & QCOW2_OFF_MASK;
	if (entry & QCOW2_COPIED && old_off)
		return 0;
	rc = qcow2_freed_make_room(q, 1);
	if (!rc)
		rc = make_table(q, old_off, guest_off, state, need);
	if (!rc)
		rc = qcow2_l1_slice(q, l1_idx, &l1, &byte, need);
	if (!rc)
		rc = qcow2_ref_need(q, state->new_off, layer->cluster_len, need);
	if (rc)
		return rc;
	qcow2_ref_take(q, state->new_off, layer->cluster_len);
	put_be64(l1->bytes + byte, state->new_off | QCOW2_COPIED);
	table_mark_dirty(layer->cache, l1, byte, 8, STAGE_ROOT);
	if (old_off)
		qcow2_freed_add(q, old_off >> q->cluster_bits, 1, false);
	qcow2_snapshots_note_departed(q);
	return 0;
}
