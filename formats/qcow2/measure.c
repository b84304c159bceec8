/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: how far an image will reach into its file once so many clusters are
 * taken. The walk makes the very decisions of qcow2_reserve(), a refcount block
 * at a time, with the same qcow2_plan_growth(): a formula was rejected, since where a
 * refcount table grows depends on where the image ends today.
 *
 * The bound is exact when every cluster is taken: taking fewer never ends
 * farther behind, and space that comes back is handed out again first.
 *
 * It begins where begin_writing() will have left the image: leaks at its end
 * taken out, or, where it was left dirty, new refcounts behind everything.
 */
#include "formats/qcow2/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/qcow2/check/repair.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/copies.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/reftable.h"
#include "formats/qcow2/write/begin.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

/* Takes n clusters in the shadow of q, whose alloc_end is moved. */
static int take_all(const struct qcow2 *q, const struct qcow2_space *space, struct qcow2 *shadow,
		    uint64_t n)
{
	uint64_t new_blocks_end = 0; /* ranges below it that lie behind the old end have a block */

	if (space->is_rebuilt) /* the last range that is counted has one, and none behind it */
		new_blocks_end = (space->end_idx - 1) / q->refs_per_block + 1;

	while (n) {
		uint64_t idx = shadow->layer.alloc_end >> q->cluster_bits;
		uint64_t block_idx = idx / q->refs_per_block, part;

		if (shadow->layer.alloc_end >= QCOW2_MAX_HOST_OFF)
			return -EFBIG;
		if (block_idx >= shadow->reftable.n) {
			struct qcow2_growth g;

			qcow2_plan_growth(shadow, &g);
			if (g.table_clusters * q->layer.cluster_len > QCOW2_MAX_REFTABLE_LEN)
				return -EFBIG;
			shadow->reftable.n = g.table_clusters * q->layer.cluster_len / 8;
			shadow->layer.alloc_end += (g.n_blocks + g.table_clusters)
						   << q->cluster_bits;
			new_blocks_end = block_idx + g.n_blocks;
		} else if (block_idx >= new_blocks_end &&
			   (space->is_rebuilt || !qcow2_block_off(q, block_idx))) {
			shadow->layer.alloc_end += q->layer.cluster_len;
			new_blocks_end = block_idx + 1;
		} else {
			part = MIN(n, (block_idx + 1) * q->refs_per_block - idx);
			shadow->layer.alloc_end += part << q->cluster_bits;
			n -= part;
		}
	}
	return 0;
}

int qcow2_begin_measuring(struct layer *layer, struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	struct shown shown;

	if (q->reftable.bytes) /* begin_writing has loaded them */
		return 0;
	return qcow2_snapshots_load(q, file_show(layer->file, &shown), err);
}

/* The most clusters that n_data clusters of data and n_tables tables may become. With snapshots
 * each disk may need a table of its own, and a copy of its own where it has some subclusters of a
 * cluster, or where refcounts are too narrow to share one. */
static int all_clusters(const struct qcow2 *q, uint64_t n_data, uint64_t n_tables, uint64_t *n)
{
	uint64_t n_disks = UINT64_C(1) + q->hdr.n_snapshots;
	bool narrow = n_disks > qcow2_max_shared(q);

	if (qcow2_is_external(q))
		n_data = 0;
	if (q->hdr.n_snapshots && (narrow || q->l2_entry_len == 16) &&
	    mul_u64(n_data, n_disks, &n_data))
		return -EFBIG;
	if (mul_u64(n_tables, n_disks, &n_tables) || add_u64(n_data, n_tables, n))
		return -EFBIG;
	return 0;
}

/* Finds where space will be taken from: in an image that is being written to, or in one that
 * begin_writing() will mend first. */
static int plan_space(struct qcow2 *q, const char *name, struct qcow2_space *space, struct err *err)
{
	int rc;

	if (!q->reftable.bytes)
		return qcow2_plan_repair(&q->layer, name, space, err);
	*space = (struct qcow2_space){ 0 };
	rc = qcow2_used_end(q, &space->end_idx);
	return rc ? err_errno(err, rc, "%s: cannot read the refcounts", name) : 0;
}

int qcow2_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		  struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	bool loaded = q->reftable.bytes;
	struct qcow2_space space;
	struct qcow2 shadow;
	uint64_t n;
	struct shown shown;
	const char *name = file_show(layer->file, &shown);
	int rc;

	rc = plan_space(q, name, &space, err);
	if (!rc && !loaded && !space.is_rebuilt) /* else the old one is not to be trusted */
		rc = qcow2_reftable_read(q, name, err);
	if (!rc) {
		shadow = *q;
		shadow.layer.alloc_end = space.end_idx << q->cluster_bits;
		if (space.is_rebuilt)
			shadow.reftable.n = space.n_reftable;
		rc = all_clusters(q, n_data, n_tables, &n);
		if (!rc)
			rc = take_all(q, &space, &shadow, n);
		if (rc)
			err_set(err, rc, "%s: the image would grow beyond what qcow2 can hold",
				name);
		else
			*end_off = shadow.layer.alloc_end;
	}
	if (!loaded) {
		free(q->reftable.bytes);
		q->reftable.bytes = NULL;
	}
	return rc;
}
