/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: host space and its refcounts.
 *
 * Space is taken behind everything the image has ever used, by moving one
 * pointer (alloc_end); a cluster is counted when it is published, so that
 * nothing an aborted copy reserved is ever a leak. A free-cluster search was
 * rejected for copying: a refcount that is wrong by one would let it overwrite
 * live data, and what lies behind the end also lies contiguous. Only what came
 * back, or what the guest's own writes let go, is handed out again.
 *
 * reserve() keeps this true: space it gave out lies in a refcount block that
 * exists, at least in memory. A block for a new range is that range's first
 * new cluster and counts itself. The table of the blocks is qcow2_reftable.c.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/qcow2.h"

static uint32_t block_slice_len(const struct qcow2 *q)
{
	return MIN(q->layer.cluster_len, TABLE_MAX_LEN);
}

/* Clusters whose refcounts one slice of a block holds. */
static uint64_t slice_refs(const struct qcow2 *q)
{
	return ((uint64_t)block_slice_len(q) * 8) >> q->refcount_order;
}

uint64_t qcow2_block_off(const struct qcow2 *q, uint64_t block_idx)
{
	return block_idx < q->n_reftable ? be64(q->reftable + 8 * block_idx) : 0;
}

/* The slice that counts host cluster cluster_idx; its block exists. */
static int ref_slice(struct qcow2 *q, uint64_t cluster_idx, struct table **out,
		     struct table_need *need)
{
	uint64_t in_block = cluster_idx % q->refs_per_block;
	uint64_t slice_off = in_block / slice_refs(q) * block_slice_len(q);

	return table_get(q->layer.cache, q->layer.file,
			 qcow2_block_off(q, cluster_idx / q->refs_per_block) + slice_off,
			 block_slice_len(q), out, need);
}

int qcow2_ref_need(struct qcow2 *q, uint64_t host_off, uint64_t len, struct table_need *need)
{
	uint64_t end = (host_off + len) >> q->cluster_bits;

	for (uint64_t idx = host_off >> q->cluster_bits; idx < end;
	     idx = round_down(idx, slice_refs(q)) + slice_refs(q)) {
		struct table *slice;
		int rc = ref_slice(q, idx, &slice, need);

		if (rc)
			return rc;
	}
	return 0;
}

int qcow2_ref_get(struct qcow2 *q, uint64_t cluster_idx, uint64_t *value, struct table_need *need)
{
	struct table *slice;
	int rc;

	*value = 0;
	if (!qcow2_block_off(q, cluster_idx / q->refs_per_block))
		return 0;
	rc = ref_slice(q, cluster_idx, &slice, need);
	if (!rc)
		*value = qcow2_refcount_get(slice->bytes, cluster_idx % slice_refs(q),
					    q->refcount_order);
	return rc;
}

void qcow2_ref_set(struct qcow2 *q, uint64_t cluster_idx, uint64_t n, uint64_t value)
{
	while (n) {
		uint64_t first = cluster_idx % slice_refs(q);
		uint64_t part = MIN(n, slice_refs(q) - first);
		uint32_t lo = (first << q->refcount_order) / 8;
		uint32_t hi = (((first + part) << q->refcount_order) + 7) / 8;
		struct table_need need;
		struct table *slice;
		int rc = ref_slice(q, cluster_idx, &slice, &need);

		assert(!rc);
		for (uint64_t i = 0; i < part; i++)
			qcow2_refcount_put(slice->bytes, first + i, q->refcount_order, value);
		table_mark_dirty(q->layer.cache, slice, lo, hi - lo, STAGE_REFCOUNT);
		cluster_idx += part;
		n -= part;
	}
}

void qcow2_ref_take(struct qcow2 *q, uint64_t host_off, uint64_t len)
{
	qcow2_ref_set(q, host_off >> q->cluster_bits, len >> q->cluster_bits, 1);
}

/* ---- opening for writing ---- */

/* One behind the last cluster with a refcount. */
static int find_counted_end(struct qcow2 *q, uint64_t *end_idx)
{
	autofree uint8_t *block = malloc(q->layer.cluster_len);

	*end_idx = 0;
	if (!block)
		return -ENOMEM;
	for (uint64_t b = q->n_reftable; b-- > 0;) {
		int rc;

		if (!qcow2_block_off(q, b))
			continue;
		rc = file_read_padded(q->layer.file, block, q->layer.cluster_len,
				      qcow2_block_off(q, b));
		if (rc)
			return rc;
		for (uint64_t i = q->refs_per_block; i-- > 0;)
			if (qcow2_refcount_get(block, i, q->refcount_order)) {
				*end_idx = b * q->refs_per_block + i + 1;
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
		changed |= qcow2_refcount_get(block, i, q->refcount_order) != 0;
		qcow2_refcount_put(block, i, q->refcount_order, 0);
	}
	return changed;
}

/* Clusters that a cut has counted and never let the file grow to are leaks as soon as it does:
 * nothing refers to them, so no order of these writes matters. Durable before space is taken. */
static int forget_beyond(struct qcow2 *q, uint64_t from_idx)
{
	autofree uint8_t *block = malloc(q->layer.cluster_len);
	bool changed = false;

	if (!block)
		return -ENOMEM;
	for (uint64_t b = from_idx / q->refs_per_block; b < q->n_reftable; b++) {
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
static int find_space(struct qcow2 *q)
{
	struct layer *layer = &q->layer;
	uint64_t end_idx;
	int rc = qcow2_used_end(q, &end_idx);

	if (!rc && !layer->file->is_block)
		rc = forget_beyond(q, end_idx);
	layer->zero_from = layer->file->is_block ? UINT64_MAX : layer->file->len;
	layer->alloc_end = end_idx << q->cluster_bits;
	return rc;
}

/* The autoclear bits that are true of an image being pulled. The mark that the data file alone is the
 * guest's disk never is where there is a backing file (QEMU makes no such image, and what it writes to
 * one does not make it so), and what a cluster without an entry has in the data file is nobody's
 * zeros. Making it true, by zeroing all that reads zeros, was rejected: it would write over bytes
 * whose meaning we do not know. */
static uint64_t true_marks(const struct qcow2 *q)
{
	return QCOW2_AUTOCLEAR_BITMAPS | (q->layer.has_backing ? 0 : QCOW2_AUTOCLEAR_RAW_DATA);
}

/* New space lies behind the file's end, where even the largest refcount table must reach: a sparse tail
 * costs its author nothing. */
static int may_grow(const struct qcow2 *q, const char *name, struct err *err)
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
	char name[512];
	int rc;

	err_escape(layer->file->name, strlen(layer->file->name), name, sizeof(name));
	if (q->reftable) {
		layer->note[0] = 0;
		return 0;
	}
	rc = may_grow(q, name, err);
	if (!rc)
		rc = qcow2_make_sound(layer, name, err);
	if (!rc)
		rc = qcow2_views_load(q, name, err);
	if (!rc)
		rc = qcow2_reftable_read(q, name, err);
	if (rc)
		goto fail;
	rc = qcow2_clear_unknown_autoclear(q, true_marks(q));
	if (!rc)
		rc = find_space(q);
	if (rc) {
		err_errno(err, rc, "%s: cannot prepare the image for writing", name);
		goto fail;
	}
	/* A data file that is the disk by itself must hold the zeros, too. */
	if (qcow2_is_external(q) && q->autoclear & QCOW2_AUTOCLEAR_RAW_DATA)
		layer->has_zero_entries = false;
	return 0;
fail:
	qcow2_views_free(q);
	free(q->reftable);
	q->reftable = NULL;
	return rc;
}

/* ---- taking space ---- */

uint64_t qcow2_room(const struct qcow2 *q, uint64_t want)
{
	uint64_t limit = q->layer.file->is_block ? q->layer.file->len : QCOW2_MAX_HOST_OFF;

	if (q->layer.alloc_end >= limit)
		return 0;
	return MIN(want, (limit - q->layer.alloc_end) >> q->cluster_bits);
}

int qcow2_no_room(const struct qcow2 *q)
{
	return q->layer.file->is_block ? -ENOSPC : -EFBIG;
}

int qcow2_new_block(struct qcow2 *q, uint64_t host_off)
{
	bool known_zero = host_off >= q->layer.zero_from;

	for (uint32_t off = 0; off < q->layer.cluster_len; off += block_slice_len(q)) {
		struct table *slice = table_new(q->layer.cache, q->layer.file, host_off + off,
						block_slice_len(q), STAGE_REFCOUNT);

		if (!slice)
			return -ENOMEM;
		/* Where the space is known to hold zeros, the first and the last sector will do: the
		 * file does not end inside the block. */
		table_mark_dirty(q->layer.cache, slice, 0,
				 known_zero ? TABLE_SECTOR_LEN : slice->len, STAGE_REFCOUNT);
		table_mark_dirty(q->layer.cache, slice, slice->len - TABLE_SECTOR_LEN,
				 TABLE_SECTOR_LEN, STAGE_REFCOUNT);
	}
	return 0;
}

/* The first new cluster of a range without a refcount block becomes its block. */
static int add_block(struct qcow2 *q, uint64_t block_idx)
{
	uint64_t host_off = q->layer.alloc_end;
	int rc;

	if (!qcow2_room(q, 1))
		return qcow2_no_room(q);
	q->layer.alloc_end += q->layer.cluster_len;
	rc = qcow2_new_block(q, host_off);
	if (rc)
		return rc;
	put_be64(q->reftable + 8 * block_idx, host_off);
	if (q->reftable_lo == q->reftable_hi)
		q->reftable_lo = q->reftable_hi = block_idx;
	q->reftable_lo = MIN(q->reftable_lo, block_idx);
	q->reftable_hi = MAX(q->reftable_hi, block_idx + 1);
	qcow2_ref_take(q, host_off, q->layer.cluster_len);
	return 0;
}

int qcow2_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got)
{
	struct qcow2 *q = qcow2_of(layer);

	if (gaps_take(&q->gaps, len, host_off, got) || qcow2_freed_take(q, len, host_off, got))
		return 0;
	for (;;) {
		uint64_t idx = layer->alloc_end >> q->cluster_bits;
		uint64_t block_idx = idx / q->refs_per_block;
		int rc = 0;

		if (block_idx >= q->n_reftable) {
			rc = qcow2_reftable_grow(q);
		} else if (!qcow2_block_off(q, block_idx)) {
			rc = add_block(q, block_idx);
		} else {
			uint64_t n = qcow2_room(q, MIN(len >> q->cluster_bits,
						       (block_idx + 1) * q->refs_per_block - idx));

			if (!n && q->aside_off < q->aside_end) {
				qcow2_give_up_aside(q);
				return qcow2_reserve(layer, len, host_off, got);
			}
			if (!n)
				return qcow2_no_room(q);
			*host_off = layer->alloc_end;
			*got = n << q->cluster_bits;
			layer->alloc_end += *got;
			return 0;
		}
		if (rc)
			return rc;
	}
}

/* The space may have been written to meanwhile: it does not count as zeros any more. A piece in
 * between is uncounted, so no leak, and handed out first. */
void qcow2_release(struct layer *layer, uint64_t host_off, uint64_t len)
{
	struct qcow2 *q = qcow2_of(layer);

	if (layer->zero_from != UINT64_MAX)
		layer->zero_from = MAX(layer->zero_from, host_off + len);
	if (host_off + len == layer->alloc_end)
		layer->alloc_end = gaps_absorb(&q->gaps, host_off);
	else
		gaps_add(&q->gaps, host_off, len);
}
