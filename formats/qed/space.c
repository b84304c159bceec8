/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: host space. The format has no map of free clusters: what nothing
 * refers to is free, and only the end of the file is known to be so. Space is
 * handed out from there by moving one offset; gaps (core/gaps.h) are handed out
 * first, since each one forgotten is a leaked cluster in the finished image.
 *
 * Tables go to space that never held anything, so that only what is not zero
 * of a table (of up to 1 GiB) must be written. Writing zeros over a reused
 * gap instead was rejected: a commit would have to hold them all.
 */
#include "formats/qed/space.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/qed/image.h"
#include "io/base.h"

/* First byte behind what can be handed out; cluster aligned. */
static uint64_t space_limit(const struct qed *q)
{
	uint64_t limit = q->layer.file->is_block ? q->layer.file->len : INT64_MAX;

	return round_down(limit, q->layer.cluster_len);
}

static int no_space(const struct qed *q)
{
	return q->layer.file->is_block ? -ENOSPC : -EFBIG;
}

int qed_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got)
{
	struct qed *q = qed_of(layer);
	uint64_t limit = space_limit(q);

	assert(len && is_aligned(len, layer->cluster_len));
	if (gaps_take(&q->gaps, len, host_off, got))
		return 0;
	if (layer->alloc_end >= limit)
		return no_space(q);
	*host_off = layer->alloc_end;
	*got = MIN(len, limit - layer->alloc_end);
	layer->alloc_end += *got;
	return 0;
}

/* The space may have been written to in the meantime: it does not count as zeros any more. */
void qed_release(struct layer *layer, uint64_t host_off, uint64_t len)
{
	struct qed *q = qed_of(layer);

	assert(is_aligned(host_off | len, layer->cluster_len) &&
	       host_off + len <= layer->alloc_end);
	if (!len)
		return;
	if (!layer->file->is_block)
		layer->zero_from = MAX(layer->zero_from, host_off + len);
	if (host_off + len == layer->alloc_end) {
		layer->alloc_end = gaps_absorb(&q->gaps, host_off);
	} else {
		gaps_add(&q->gaps, host_off, len);
		q->may_leak = true;
	}
}

int qed_reserve_table(struct qed *q, uint64_t *host_off)
{
	struct layer *layer = &q->layer;
	uint64_t off = layer->alloc_end;

	if (!layer->file->is_block)
		off = MAX(off, round_up(layer->zero_from, layer->cluster_len));
	if (off > space_limit(q) || q->table_len > space_limit(q) - off)
		return no_space(q);
	if (off > layer->alloc_end) {
		gaps_add(&q->gaps, layer->alloc_end, off - layer->alloc_end);
		q->may_leak = true;
	}
	layer->alloc_end = off + q->table_len;
	*host_off = off;
	return 0;
}

int qed_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		    struct destination *out, struct table_need *need)
{
	(void)layer;
	(void)guest_off;
	(void)need;
	if (copy)
		return -ENOENT;
	*out = (struct destination){ .len = len };
	return 0;
}
