/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Before the first write the whole image is checked and mended, not only when
 * NEED_CHECK asks for it: two guest ranges that share an L2 table would each read what
 * is copied for the other, and nothing in the header tells. Trusting a clear NEED_CHECK
 * bit was rejected for that reason; the walk costs what reading the allocated tables
 * once costs.
 */
#include "formats/qed/begin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "formats/qed/check.h"
#include "formats/qed/disk.h"
#include "formats/qed/header.h"
#include "formats/qed/image.h"
#include "formats/qed/repair.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"

/* On a block device every byte of a new table must be written, and a commit holds a copy. */
#define QED_MAX_DEVICE_TABLE_LEN (16 * MiB)

/* Keeps the first thing found wrong, for the sentence that refuses the image. */
static void keep_first_error(void *opaque, bool is_leak, const char *text)
{
	char(*first)[256] = opaque;

	if (!is_leak && !(*first)[0])
		snprintf(*first, sizeof(*first), "%s", text);
}

/* Checks the image, and refuses what no job is to touch, with a sentence. Blocks. */
static int audit_tables(struct qed *q, struct check_result *found, struct err *err)
{
	struct shown shown;
	const char *name = file_show(q->layer.file, &shown);
	char first[256] = "";
	struct check_result result = {
		.report = keep_first_error,
		.opaque = &first,
		.max_reports = UINT64_MAX,
	};
	int rc;

	/* No other reads or writes this image: not before it may be written to. */
	blocking_begin();
	rc = qed_check(&q->layer, &result, err);
	blocking_end();
	if (rc)
		return rc;
	if (result.n_errors)
		return err_set(err, -EUCLEAN,
			       "%s: damaged, not written to: %s (%" PRIu64
			       " errors); repair a copy with qemu-img check -r all first",
			       name, first, result.n_errors);
	if (result.n_check_errors)
		return err_set(err, -EIO, "%s: could not be checked, not written to: %s", name,
			       first);
	*found = result;
	return 0;
}

/* Finds where new space begins, and takes leaks out first, with a partial cluster at the end, to
 * which nothing refers. On a device the image's end is behind its last cluster, and any byte may be
 * an old one. In a file an earlier job of this handle may have written behind the end and failed to
 * cut that off. */
static int qed_find_space(struct qed *q, const struct check_result *found, uint64_t *n_left,
			  struct err *err)
{
	struct layer *layer = &q->layer;
	struct file *file = layer->file;
	uint64_t end_off =
		file->is_block ? found->image_end_off : round_up(file->len, layer->cluster_len);

	layer->zero_from = file->is_block ? UINT64_MAX : MAX(layer->zero_from, file->len);
	q->gaps.n = 0;
	/* Changes that are not on disk refer to clusters which the audit took for leaks. */
	if (table_cache_dirty_len(layer->cache, file)) {
		layer->alloc_end = MAX(layer->alloc_end, end_off);
		return 0;
	}
	q->spare_l2_off = 0;
	table_cache_drop_clean(layer->cache, file);
	layer->alloc_end = end_off;
	if (!found->n_leaks && (file->is_block || file->len == end_off))
		return 0;
	return qed_reclaim_all(q, found->image_end_off, n_left, err);
}

int qed_begin_writing(struct layer *layer, struct err *err)
{
	struct qed *q = qed_of(layer);
	struct file *file = layer->file;
	struct shown shown;
	const char *name = file_show(file, &shown);
	struct check_result found = { 0 };
	bool was_dirty = q->need_check;
	uint64_t n_left = 0, no_probe = 0;
	int rc;

	layer->note[0] = 0;
	if (file->is_block && q->table_len > QED_MAX_DEVICE_TABLE_LEN)
		return err_set(err, -ENOTSUP,
			       "%s: QED tables of %" PRIu64
			       " MiB are not written on a block device; copy the image to a file",
			       name, q->table_len / MiB);
	rc = audit_tables(q, &found, err);
	if (rc)
		return rc;
	if (layer->has_backing && layer->backing.told_raw)
		no_probe = QED_F_NO_PROBE;
	if (q->need_check || q->autoclear & ~QED_AUTOCLEAR_KNOWN || no_probe & ~q->features) {
		rc = qed_rewrite_header(q, (q->features & ~QED_F_NEED_CHECK) | no_probe,
					q->autoclear & QED_AUTOCLEAR_KNOWN, err);
		if (rc)
			return rc;
	}
	rc = qed_find_space(q, &found, &n_left, err);
	if (rc)
		return rc;
	qed_note(layer, was_dirty, found.n_leaks, n_left);
	return 0;
}

int qed_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		struct err *err)
{
	struct qed *q = qed_of(layer);
	struct check_result found = { 0 };
	uint64_t n_clusters;
	int rc = audit_tables(q, &found, err);

	if (rc)
		return rc;
	/* Leaks are taken out before space is taken. How much that gains only trying tells, so it
	 * is not counted on; it makes no file longer than to its last cluster's end. */
	*end_off = layer->file->is_block ? found.image_end_off : layer->file->len;
	*end_off = round_up(*end_off, layer->cluster_len);
	if (__builtin_mul_overflow(n_tables, q->table_clusters, &n_clusters) ||
	    add_u64(n_clusters, n_data, &n_clusters) ||
	    n_clusters > (INT64_MAX - *end_off) / layer->cluster_len)
		return err_set(err, -EFBIG, "the image would grow beyond what QED can hold");
	*end_off += n_clusters * layer->cluster_len;
	return 0;
}
