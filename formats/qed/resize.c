/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: a longer disk. The L1 table has entries for all that the image can ever map, so
 * the header's length is all that changes: eight bytes inside sector 0.
 */
#include "formats/qed/resize.h"

#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer.h"
#include "formats/core/layer_resize.h"
#include "formats/core/staged.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

static uint64_t longest_disk(const struct qed *q)
{
	unsigned bits = q->table_bits + q->l2_bits;

	return MIN(bits < 63 ? UINT64_C(1) << bits : (uint64_t)INT64_MAX,
		   (uint64_t)INT64_MAX - QED_MAX_CLUSTER_LEN);
}

int qed_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err)
{
	const struct qed *q = qed_of(layer);
	struct shown shown;

	if (guest_len <= longest_disk(q))
		return 0;
	return err_set(err, -EFBIG, "%s: its tables map %" PRIu64 " bytes at most",
		       file_show(layer->file, &shown), longest_disk(q));
}

void qed_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len)
{
	(void)move;
	layer->guest_len = layer->backed_len = guest_len;
}

void qed_record_len(struct layer *layer)
{
	struct qed *q = qed_of(layer);

	put_le64(q->header + QED_H_GUEST_LEN, layer->guest_len);
	q->len_is_dirty = true;
}

void qed_keep_len(struct layer *layer, uint64_t guest_len, struct staged *staged)
{
	struct qed *q = qed_of(layer);

	put_le64(q->header + QED_H_GUEST_LEN, guest_len);
	if (staged)
		staged_patch(staged, STAGE_REFTABLE, layer->file, QED_H_GUEST_LEN,
			     q->header + QED_H_GUEST_LEN, 8);
}

int qed_stage_len(struct layer *layer, struct staged *staged)
{
	struct qed *q = qed_of(layer);
	int rc = 0;

	if (q->len_is_dirty)
		rc = staged_add(staged, STAGE_REFTABLE, layer->file, QED_H_GUEST_LEN,
				q->header + QED_H_GUEST_LEN, 8);
	if (!rc)
		q->len_is_dirty = false;
	return rc;
}
