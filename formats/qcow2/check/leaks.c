/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Leaked clusters, and COPIED flags: the check's walk, which writes.
 *
 * Refcounts are lowered in place, piece by piece. Each of them is a leak before
 * its write and right after it, and none depends on another, so a cut may keep
 * any of the writes. What was lowered to 1 has a COPIED flag that is clear without need
 * then: harmless, found by the next check, and set behind a barrier, since the
 * flag over a count of 2 would let a writer change a shared cluster in place.
 */
#include "formats/qcow2/check/leaks.h"

#include <errno.h>
#include <stdlib.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/refs.h"
#include "formats/qcow2/check/repair.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/file.h"

struct freed_range {
	uint64_t first, n; /* clusters */
};

struct lowering {
	struct freed_range freed[QCOW2_MAX_FREED]; /* more are free, too, but keep their blocks */
	unsigned n_freed;
};

static void note_freed(struct lowering *l, uint64_t idx)
{
	struct freed_range *last = l->n_freed ? &l->freed[l->n_freed - 1] : NULL;

	if (last && last->first + last->n == idx)
		last->n++;
	else if (l->n_freed < QCOW2_MAX_FREED)
		l->freed[l->n_freed++] = (struct freed_range){ idx, 1 };
}

static void lower_range(struct qcow2_check *c, const struct ref_range *range)
{
	uint64_t file_end = div_round_up(c->file->len, qcow2_cluster_len(c->q));
	unsigned order = c->q->hdr.refcount_order;
	bool changed = false;

	if (!range->bytes || c->write_error)
		return;
	for (uint64_t i = 0; i < range->n; i++) {
		uint64_t idx = range->first + i, stored, count = 0;

		stored = qcow2_refcount_get(range->bytes, range->idx + i, order);
		if (check_window_has(&c->target, idx))
			count = c->target.counts[idx - c->target.first] & CHECK_COUNT_MAX;
		if (stored <= count || count == CHECK_COUNT_MAX || idx >= file_end)
			continue;
		qcow2_refcount_put(range->bytes, range->idx + i, order, count);
		changed = true;
		if (!count)
			note_freed(c->opaque, idx);
	}
	if (!changed)
		return;
	c->written = true;
	c->write_error = file_write(c->file, range->bytes, range->piece_len, range->piece_off);
}

static int lower_window(struct qcow2_check *c)
{
	int rc =
		check_each_refcount(c, c->target.first, c->target.first + c->target.n, lower_range);

	return rc ? rc : c->write_error;
}

static int lower_beyond(struct qcow2_check *c, uint64_t first)
{
	int rc = check_each_refcount(c, first, c->n_host, lower_range);

	return rc ? rc : c->write_error;
}

/* Gives the space of freed clusters back to the file system. The lowered counts are durable. */
static int give_back(struct qcow2_check *c, const struct lowering *l)
{
	unsigned cluster_bits = c->q->cluster_bits;
	bool cut = false;
	int rc = 0;

	if (c->file->is_block)
		return 0;
	for (unsigned i = 0; i < l->n_freed; i++) {
		const struct freed_range *freed = &l->freed[i];

		if (freed->first >= c->refs_end)
			cut = true;
		else
			file_discard(c->file, freed->first << cluster_bits,
				     freed->n << cluster_bits);
	}
	if (cut && c->file->len > c->refs_end << cluster_bits) {
		rc = file_cut(c->file, c->refs_end << cluster_bits);
		if (!rc)
			rc = file_sync(c->file);
	}
	return rc;
}

int qcow2_lower_refcounts(struct qcow2 *q, uint64_t window_clusters)
{
	struct check_result ignored = { 0 };
	struct qcow2_check *c = check_new(q, &ignored, window_clusters);
	autofree struct lowering *l = calloc(1, sizeof(*l));
	int rc = -ENOMEM;

	if (c && l) {
		c->window_counted = lower_window;
		c->beyond = lower_beyond;
		c->opaque = l;
		/* The entries by which counts are judged must not be lost by a cut. */
		rc = file_sync(q->layer.file);
		blocking_begin();
		if (!rc)
			rc = check_run(c, window_clusters);
		blocking_end();
		if (!rc && c->written)
			rc = file_sync(q->layer.file);
		if (!rc)
			rc = give_back(c, l);
	}
	if (c)
		check_free(c);
	return rc;
}

static int nothing_to_compare(struct qcow2_check *c)
{
	(void)c;
	return 0;
}

int qcow2_mend_copied(struct qcow2 *q, uint64_t window_clusters)
{
	struct check_result ignored = { 0 };
	struct qcow2_check *c = check_new(q, &ignored, window_clusters);
	int rc;

	if (!c)
		return -ENOMEM;
	c->mend_copied = true;
	c->window_counted = nothing_to_compare;
	c->beyond = NULL;
	blocking_begin();
	rc = check_run(c, window_clusters);
	blocking_end();
	if (!rc && c->written)
		rc = file_sync(q->layer.file);
	check_free(c);
	return rc;
}
