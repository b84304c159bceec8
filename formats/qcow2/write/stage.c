/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a commit writes of this image: refcount blocks, the refcount table, tables. */
#include "formats/qcow2/write/stage.h"

#include "formats/core/layer.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/write/resize.h"
#include "io/base.h"

/* The changed entries, whole sectors of them. */
static int stage_entries(struct qcow2 *q, struct staged *staged)
{
	uint64_t lo = round_down(q->reftable.dirty_lo * 8, TABLE_SECTOR_LEN);
	uint64_t hi = MIN(round_up(q->reftable.dirty_hi * 8, TABLE_SECTOR_LEN), q->reftable.n * 8);

	return staged_add(staged, STAGE_REFTABLE, q->layer.file, q->hdr.reftable_off + lo,
			  q->reftable.bytes + lo, hi - lo);
}

/* The whole new table while nothing reaches it, then the 12 bytes that do, if the header is not
 * written with more of its fields. */
static int stage_moved(struct qcow2 *q, struct staged *staged, bool header_is_staged)
{
	uint8_t pointer[12];
	int rc = staged_add(staged, STAGE_REFCOUNT, q->layer.file, q->hdr.reftable_off,
			    q->reftable.bytes, q->reftable.n * 8);

	if (rc || header_is_staged)
		return rc;
	put_be64(pointer, q->hdr.reftable_off);
	put_be32(pointer + 8, q->hdr.reftable_clusters);
	return staged_add(staged, STAGE_REFTABLE, q->layer.file, QCOW2_H_REFTABLE_OFF, pointer,
			  sizeof(pointer));
}

int qcow2_stage(struct layer *layer, struct staged *staged)
{
	struct qcow2 *q = qcow2_of(layer);
	bool header_is_staged;
	int rc = qcow2_stage_len(q, staged, &header_is_staged);

	if (rc)
		return rc;
	if (q->reftable.is_moved) {
		rc = stage_moved(q, staged, header_is_staged);
		if (rc)
			return rc;
		q->reftable.is_moved = false;
		q->reftable.old_is_staged = true;
	} else if (q->reftable.dirty_lo < q->reftable.dirty_hi) {
		rc = stage_entries(q, staged);
		if (rc)
			return rc;
	}
	q->reftable.dirty_lo = q->reftable.dirty_hi = 0;
	rc = qcow2_snapshots_stage(q, staged);
	return rc ? rc : qcow2_freed_stage(q);
}
