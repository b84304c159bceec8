/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Before the first write: the image is audited and mended, its refcounts are read, and the end
 * of its space is found.
 */
#include "formats/qcow2/write/begin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/qcow2/check/repair.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/header.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/reftable.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

/* One behind the last cluster with a refcount, of those below *end_idx. */
static int find_counted_end(struct qcow2 *q, uint64_t *end_idx)
{
	autofree uint8_t *block = malloc(q->layer.cluster_len);
	uint64_t limit_idx = *end_idx;

	*end_idx = 0;
	if (!block)
		return -ENOMEM;
	for (uint64_t b = MIN(q->reftable.n, div_round_up(limit_idx, q->refs_per_block));
	     b-- > 0;) {
		uint64_t first_idx = b * q->refs_per_block;
		int rc;

		if (!qcow2_block_off(q, b))
			continue;
		rc = file_read_padded(q->layer.file, block, q->layer.cluster_len,
				      qcow2_block_off(q, b));
		if (rc)
			return rc;
		for (uint64_t i = MIN(q->refs_per_block, limit_idx - first_idx); i-- > 0;)
			if (qcow2_refcount_get(block, i, q->hdr.refcount_order)) {
				*end_idx = first_idx + i + 1;
				return 0;
			}
	}
	return 0;
}

int qcow2_used_end(struct qcow2 *q, uint64_t *end_idx)
{
	*end_idx = div_round_up(q->layer.file->len, q->layer.cluster_len);
	return q->layer.file->is_block ? find_counted_end(q, end_idx) : 0;
}

/* Entries [first, refs_per_block) of a block become 0. True: some were not. */
static bool forget_refs(const struct qcow2 *q, uint8_t *block, uint64_t first)
{
	bool changed = false;

	for (uint64_t i = first; i < q->refs_per_block; i++) {
		changed |= qcow2_refcount_get(block, i, q->hdr.refcount_order) != 0;
		qcow2_refcount_put(block, i, q->hdr.refcount_order, 0);
	}
	return changed;
}

/* Sets refcounts behind the file's end to 0. A cut may leave such counts of clusters that the file
 * never grew to; or the device has become smaller. They would be leaks as soon as the file grows.
 * Nothing refers to those clusters, so no order of these writes matters; they are durable before
 * space is taken. */
static int forget_beyond(struct qcow2 *q, uint64_t from_idx)
{
	autofree uint8_t *block = malloc(q->layer.cluster_len);
	bool changed = false;

	if (!block)
		return -ENOMEM;
	for (uint64_t b = from_idx / q->refs_per_block; b < q->reftable.n; b++) {
		uint64_t off = qcow2_block_off(q, b), range = b * q->refs_per_block;
		int rc;

		if (!off)
			continue;
		rc = file_read_padded(q->layer.file, block, q->layer.cluster_len, off);
		if (rc)
			return rc;
		if (!forget_refs(q, block, MAX(from_idx, range) - range))
			continue;
		changed = true;
		rc = file_write(q->layer.file, block, q->layer.cluster_len, off);
		if (rc)
			return rc;
	}
	return changed ? file_sync(q->layer.file) : 0;
}

/* Finds the end of the space in use; what is counted behind it is so no more. */
static int qcow2_find_space(struct qcow2 *q)
{
	struct layer *layer = &q->layer;
	uint64_t end_idx;
	int rc = qcow2_used_end(q, &end_idx);

	if (!rc)
		rc = forget_beyond(q, div_round_up(layer->file->len, layer->cluster_len));
	layer->zero_from = layer->file->is_block ? UINT64_MAX : layer->file->len;
	layer->alloc_end = end_idx << q->cluster_bits;
	return rc;
}

/* The autoclear bits that are true of an image being pulled. RAW_DATA, which says that the data
 * file alone is the guest's disk, is not where there is a backing file (QEMU makes no such image,
 * and its writes to one do not make it true): clusters without an entry may hold any bytes in the
 * data file. Making it true, by zeroing all that reads zeros, was rejected: it would write over
 * bytes whose meaning we do not know. */
static uint64_t true_autoclear(const struct qcow2 *q)
{
	return QCOW2_AUTOCLEAR_BITMAPS | (q->layer.has_backing ? 0 : QCOW2_AUTOCLEAR_RAW_DATA);
}

/* New space lies behind the file's end, where even the largest refcount table must reach: a sparse
 * tail costs its author nothing. */
static int check_countable(const struct qcow2 *q, const char *name, struct err *err)
{
	uint64_t end_idx = q->layer.file->len >> q->cluster_bits;

	if (q->layer.file->is_block || end_idx / q->refs_per_block < QCOW2_MAX_REFTABLE_LEN / 8)
		return 0;
	err_set(err, -ENOTSUP,
		"%s: its file is %" PRIu64
		" bytes long, and nothing behind that can be counted; nothing was changed: "
		"cut off what lies behind the image",
		name, q->layer.file->len);
	return err_remedy(err, -ENOTSUP, ERR_REMEDY_CUT_TAIL, NULL);
}

int qcow2_begin_writing(struct layer *layer, struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	struct shown shown;
	const char *name = file_show(layer->file, &shown);
	int rc;

	if (q->reftable.bytes) {
		layer->note[0] = 0;
		return 0;
	}
	rc = check_countable(q, name, err);
	if (!rc)
		rc = qcow2_make_sound(layer, name, err);
	if (!rc)
		rc = qcow2_snapshots_load(q, name, err);
	if (!rc)
		rc = qcow2_reftable_read(q, name, err);
	if (rc)
		goto fail;
	rc = qcow2_clear_unknown_autoclear(q, true_autoclear(q));
	if (!rc)
		rc = qcow2_find_space(q);
	if (rc) {
		err_errno(err, rc, "%s: cannot prepare the image for writing", name);
		goto fail;
	}
	/* Where the data file alone is the disk, zeros must be written to it: an entry is not
	 * enough. */
	if (qcow2_is_external(q) && q->hdr.autoclear & QCOW2_AUTOCLEAR_RAW_DATA)
		layer->has_zero_entries = false;
	return 0;
fail:
	qcow2_snapshots_free(q);
	free(q->reftable.bytes);
	q->reftable.bytes = NULL;
	return rc;
}
