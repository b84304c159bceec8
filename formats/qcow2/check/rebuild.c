/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * New refcounts for an image whose old ones can't be trusted: after a crash
 * with lazy refcounts, or with damage to the refcounts themselves.
 *
 * The references are counted; the old refcount structures count as free. New
 * blocks and a new table are written behind everything, which no reader looks
 * at; barrier; one write of bytes 48-59 of the header (inside a sector) makes
 * them the image's; barrier. A cut leaves the old ones or the new ones. Raising
 * counts in place was rejected: it needs another order for every kind of
 * damage, and new blocks for missing ones all the same.
 *
 * Only ranges with a reference get a block, so a sparse file costs nothing.
 */
#include "formats/qcow2/check/rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/refs.h"
#include "formats/qcow2/check/repair.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/header.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/file.h"

#define MAX_BLOCKS (QCOW2_MAX_REFTABLE_LEN / 8)

struct rebuild {
	struct qcow2 *q;
	bool *needed;       /* ranges that need a block: MAX_BLOCKS */
	uint64_t n_needed;  /* of them */
	uint64_t max_count; /* the most references to one cluster */
	bool too_far;       /* a reference to a cluster that no refcount table reaches */
	uint64_t first_idx; /* host cluster where the blocks begin; the table follows them */
	uint64_t end_idx;   /* one behind the table */
	uint64_t table_clusters;
	uint8_t *table; /* as on disk */
};

static void need_block(struct rebuild *r, uint64_t cluster_idx)
{
	uint64_t block = cluster_idx / r->q->refs_per_block;

	if (block >= MAX_BLOCKS) {
		r->too_far = true;
		return;
	}
	r->n_needed += !r->needed[block];
	r->needed[block] = true;
}

static int scan_window(struct qcow2_check *c)
{
	struct rebuild *r = c->opaque;

	check_overlaps(c);
	for (uint64_t i = 0; i < c->target.n; i++) {
		uint64_t count = c->target.counts[i] & CHECK_COUNT_MAX;

		if (!count)
			continue;
		r->max_count = MAX(r->max_count, count);
		need_block(r, c->target.first + i);
	}
	return 0;
}

/* One walk over all references. */
static int walk(struct rebuild *r, int (*window_counted)(struct qcow2_check *c),
		struct check_result *result, uint64_t window_clusters, uint64_t *refs_end)
{
	struct qcow2_check *c = check_new(r->q, result, window_clusters);
	int rc;

	if (!c)
		return -ENOMEM;
	c->refs_only = true;
	c->window_counted = window_counted;
	c->beyond = NULL;
	c->opaque = r;
	blocking_begin();
	rc = check_run(c, window_clusters);
	blocking_end();
	if (refs_end)
		*refs_end = c->refs_end;
	check_free(c);
	return rc;
}

/* Keeps the first thing found wrong. */
struct first_finding {
	char text[160];
};

static void keep_first(void *opaque, bool is_leak, const char *text)
{
	struct first_finding *first = opaque;

	if (!is_leak && !first->text[0])
		snprintf(first->text, sizeof(first->text), "%s", text);
}

static int scan(struct rebuild *r, uint64_t window_clusters, uint64_t *refs_end, char *why,
		size_t why_cap)
{
	unsigned bits = 1u << r->q->hdr.refcount_order;
	struct first_finding first = { "" };
	struct check_result result = { .report = keep_first, .opaque = &first, .max_reports = 1 };
	int rc = walk(r, scan_window, &result, window_clusters, refs_end);

	if (rc)
		return rc;
	if (result.n_errors || result.n_check_errors) {
		snprintf(why, why_cap, "what refers to which cluster can't be told (%s)",
			 first.text);
		return -EUCLEAN;
	}
	if (bits < 64 && r->max_count >> bits) {
		snprintf(why, why_cap,
			 "a cluster has %" PRIu64 " references, more than %u refcount bits hold",
			 r->max_count, bits);
		return -ERANGE;
	}
	return 0;
}

/* Plans where the new blocks and table lie, so that the blocks count them, too. */
static int place_tables(struct rebuild *r, uint64_t first_idx)
{
	const struct qcow2 *q = r->q;
	uint64_t n_before;

	r->first_idx = r->end_idx = first_idx;
	do {
		uint64_t last_block;

		n_before = r->n_needed;
		last_block = r->end_idx / q->refs_per_block;
		r->table_clusters = (last_block + 1) * 8 / q->layer.cluster_len + 1;
		r->end_idx = first_idx + r->n_needed + r->table_clusters;
		if (r->end_idx / q->refs_per_block >= MAX_BLOCKS)
			return -EFBIG;
		for (uint64_t i = first_idx; i < r->end_idx;
		     i = round_down(i, q->refs_per_block) + q->refs_per_block)
			need_block(r, i);
		need_block(r, r->end_idx - 1);
	} while (r->n_needed != n_before ||
		 r->end_idx != first_idx + r->n_needed + r->table_clusters ||
		 (r->end_idx / q->refs_per_block + 1) * 8 >
			 r->table_clusters * q->layer.cluster_len);
	if (r->too_far || r->table_clusters * q->layer.cluster_len > QCOW2_MAX_REFTABLE_LEN)
		return -EFBIG;
	return 0;
}

/* Refcounts of clusters [first, first + n) into the new blocks, through a piece of them at a time:
 * those of the window's counters (NULL: none), and one for each new structure. */
static int put_counts(struct rebuild *r, uint64_t first, uint64_t n, const uint32_t *counts)
{
	const struct qcow2 *q = r->q;
	const uint64_t block_len = q->layer.cluster_len;
	const uint64_t piece_len = MIN(block_len, (uint64_t)CHECK_PIECE_LEN);
	const uint64_t per_piece = (piece_len * 8) >> q->hdr.refcount_order;
	autofree uint8_t *piece = malloc(piece_len);

	if (!piece)
		return -ENOMEM;
	for (uint64_t at = first, end; at < first + n; at = end) {
		uint64_t block = at / q->refs_per_block, in_block = at % q->refs_per_block;
		uint64_t piece_off, in_piece = in_block % per_piece;
		int rc;

		end = MIN(first + n, at - in_piece + per_piece);
		if (block >= MAX_BLOCKS || !r->needed[block])
			continue;
		piece_off = be64(r->table + 8 * block) + in_block / per_piece * piece_len;
		rc = file_read_padded(q->layer.file, piece, piece_len, piece_off);
		for (uint64_t i = 0; i < end - at; i++) {
			bool is_new = at + i >= r->first_idx && at + i < r->end_idx;
			uint64_t count = counts ? counts[at + i - first] & CHECK_COUNT_MAX : 0;

			qcow2_refcount_put(piece, in_piece + i, q->hdr.refcount_order,
					   count + is_new);
		}
		if (!rc)
			rc = file_write(q->layer.file, piece, piece_len, piece_off);
		if (rc)
			return rc;
	}
	return 0;
}

static int write_window(struct qcow2_check *c)
{
	return put_counts(c->opaque, c->target.first, c->target.n, c->target.counts);
}

/* Fills all blocks with counts of 0 first, so that no old bytes stay; then puts what the windows
 * count. */
static int write_blocks(struct rebuild *r, uint64_t window_clusters)
{
	const struct qcow2 *q = r->q;
	struct check_result ignored = { 0 };
	int rc = 0;

	for (uint64_t b = 0; !rc && b < MAX_BLOCKS; b++)
		if (r->needed[b])
			rc = put_counts(r, b * q->refs_per_block, q->refs_per_block, NULL);
	return rc ? rc : walk(r, write_window, &ignored, window_clusters, NULL);
}

static int write_tables(struct rebuild *r, uint64_t window_clusters)
{
	struct file *file = r->q->layer.file;
	uint64_t len = r->table_clusters * r->q->layer.cluster_len, at = r->first_idx;
	int rc;

	r->table = calloc(1, len);
	if (!r->table)
		return -ENOMEM;
	for (uint64_t b = 0; b < MAX_BLOCKS; b++)
		if (r->needed[b])
			put_be64(r->table + 8 * b, at++ << r->q->cluster_bits);
	rc = write_blocks(r, window_clusters);
	if (!rc)
		rc = file_write(file, r->table, len, at << r->q->cluster_bits);
	return rc ? rc : file_sync(file);
}

static int switch_header(struct rebuild *r)
{
	struct qcow2 *q = r->q;
	uint64_t table_off = (r->end_idx - r->table_clusters) << q->cluster_bits;
	uint8_t pointer[12];
	int rc;

	put_be64(pointer, table_off);
	put_be32(pointer + 8, r->table_clusters);
	rc = file_write(q->layer.file, pointer, sizeof(pointer), QCOW2_H_REFTABLE_OFF);
	if (!rc)
		rc = file_sync(q->layer.file);
	if (rc)
		return rc;
	q->hdr.reftable_off = table_off;
	q->hdr.reftable_clusters = r->table_clusters;
	return 0;
}

/* Everything that can be known without a write: where the new structures will lie. */
static int plan(struct rebuild *r, uint64_t end_off, uint64_t window_clusters, char *why,
		size_t why_cap)
{
	const struct qcow2 *q = r->q;
	uint64_t refs_end = 0;
	int rc = r->needed ? scan(r, window_clusters, &refs_end, why, why_cap) : -ENOMEM;

	if (rc)
		return rc;
	refs_end = MAX(refs_end, div_round_up(end_off, q->layer.cluster_len));
	if (!q->layer.file->is_block)
		refs_end = MAX(refs_end, div_round_up(q->layer.file->len, q->layer.cluster_len));
	return place_tables(r, refs_end);
}

static void tell_no_place(char *why, size_t why_cap, int rc)
{
	if (!why[0])
		snprintf(why, why_cap, "new refcounts can't be written behind the image: %s",
			 strerror(-rc));
}

int qcow2_plan_rebuild(struct qcow2 *q, uint64_t end_off, uint64_t window_clusters,
		       struct qcow2_space *space, char *why, size_t why_cap)
{
	struct rebuild r = { .q = q, .needed = calloc(MAX_BLOCKS, sizeof(bool)) };
	int rc = plan(&r, end_off, window_clusters, why, why_cap);

	*space = (struct qcow2_space){
		.end_idx = r.end_idx,
		.is_rebuilt = true,
		.n_reftable = r.table_clusters * q->layer.cluster_len / 8,
	};
	if (rc)
		tell_no_place(why, why_cap, rc);
	free(r.needed);
	return rc;
}

int qcow2_rebuild_refcounts(struct qcow2 *q, uint64_t end_off, uint64_t window_clusters, char *why,
			    size_t why_cap)
{
	struct rebuild r = { .q = q, .needed = calloc(MAX_BLOCKS, sizeof(bool)) };
	struct file *file = q->layer.file;
	uint64_t old_len = file->len;
	int rc = plan(&r, end_off, window_clusters, why, why_cap);

	if (!rc && file->is_block && r.end_idx << q->cluster_bits > file->len)
		rc = -ENOSPC;
	if (!rc)
		rc = qcow2_clear_unknown_autoclear(q, QCOW2_REPAIR_KEEPS);
	if (!rc)
		rc = write_tables(&r, window_clusters);
	if (rc && !file->is_block && r.table)
		file_truncate(file, old_len);
	if (rc)
		tell_no_place(why, why_cap, rc);
	else
		rc = switch_header(&r);
	free(r.needed);
	free(r.table);
	return rc;
}
