/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: taking unreferenced clusters out of the middle of a file. The format
 * has no map of free clusters: a gap is a leak for good, unless something is
 * moved into it. What lies last fills the lowest gap, until the free space is
 * all at the end and can be cut off.
 *
 * A MOVE is: copy into the gap; barrier; rewrite the one 8-byte entry that
 * names it (inside a sector: old or new, never half); barrier. Many moves
 * share the two barriers. Cut anywhere, each entry names one of two places
 * with the same bytes, and the other place is a leak. A place moved from is
 * used again only behind the second barrier.
 *
 * Data clusters go one by one, chosen from the end. A table needs a gap of its
 * own length; where there is only a shorter one in front of it, it goes by way
 * of the end of the file. Sliding it down in place was rejected: no order of
 * overlapping copies survives a cut. The L1 table stays where the header says.
 *
 * On a full disk a gap may be a hole that takes no copy: then as many moves
 * are made as fit, what they freed is given back, and so on; what can't be
 * moved at all stays a leak, which is told.
 *
 * Memory: two bits a cluster of the file, and the moves of one batch.
 */
#include "formats/qed/compact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qed/compact_walk.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define COMPACT_BUF_LEN    (1 * MiB)
#define COMPACT_MAX_MOVES  16384u
#define COMPACT_MAX_BITMAP (64 * MiB) /* bytes: 32 TiB of 64 KiB clusters */

/* ---- choosing ---- */

/* The lowest gap at or behind the floor that something lies behind. */
static bool find_gap(struct compact *c)
{
	uint64_t at = c->floor;

	while (at < c->n_clusters && compact_bit(c->used, at))
		at++;
	c->floor = c->gap = at; /* below, everything stays in use */
	while (at < c->n_clusters && !compact_bit(c->used, at))
		at++;
	c->gap_end = at;
	return at < c->n_clusters;
}

/* One behind the last cluster in use. */
static uint64_t used_end(const struct compact *c)
{
	uint64_t end = c->n_clusters;

	while (end && !compact_bit(c->used, end - 1))
		end--;
	return end;
}

/* Chooses data clusters that lie last, to be moved into the gaps that lie first. */
static void choose_data(struct compact *c)
{
	uint64_t dst = c->gap, src = c->n_clusters;

	c->n_moves = 0;
	while (c->n_moves < COMPACT_MAX_MOVES) {
		while (dst < src && compact_bit(c->used, dst))
			dst++;
		do {
			if (src <= dst + 1)
				return;
			src--;
		} while (!compact_bit(c->used, src) || compact_bit(c->tables, src));
		c->moves[c->n_moves++] = (struct move){ .src = src, .dst = dst++ };
	}
}

static void note_table(struct compact *c, uint64_t entry, uint64_t entry_off)
{
	struct move table = { .src = entry >> c->q->cluster_bits, .entry_off = entry_off };

	if (!c->last_table.entry_off || table.src > c->last_table.src)
		c->last_table = table;
	if (table.src == c->gap_end)
		c->after_gap = table;
}

/* Finds the entries that name what is to be moved; moves are sorted by falling src. */
static void note_entry(struct compact *c, uint64_t entry, uint64_t entry_off)
{
	uint64_t cluster = entry >> c->q->cluster_bits;
	unsigned lo = 0, hi = c->n_moves;

	if (entry == QED_ENTRY_ZERO || cluster < c->moves[c->n_moves - 1].src)
		return;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (c->moves[mid].src > cluster)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < c->n_moves && c->moves[lo].src == cluster)
		c->moves[lo].entry_off = entry_off;
}

/* ---- moving ---- */

static bool all_zero(const uint8_t *bytes, uint64_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

/* Zeros are written only over something else, so that a table full of holes stays one. */
static int copy_bytes(struct compact *c, uint64_t src_off, uint64_t dst_off, uint64_t len)
{
	int rc = 0;

	for (uint64_t at = 0, n; !rc && at < len; at += n) {
		n = MIN(len - at, c->buf_len);
		if (compact_is_hole(c, src_off + at, n) && compact_is_hole(c, dst_off + at, n))
			continue;
		rc = file_read_padded(c->file, c->copy, n, src_off + at);
		if (!rc && all_zero(c->copy, n)) {
			rc = file_read_padded(c->file, c->there, n, dst_off + at);
			if (!rc && all_zero(c->there, n))
				continue;
		}
		if (!rc)
			rc = file_write(c->file, c->copy, n, dst_off + at);
	}
	return rc;
}

static int write_entries(struct compact *c)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < c->n_moves; i++) {
		uint8_t entry[QED_ENTRY_LEN];

		put_le64(entry, c->moves[i].dst << c->q->cluster_bits);
		rc = file_write(c->file, entry, sizeof(entry), c->moves[i].entry_off);
	}
	return rc;
}

/* Cuts the file behind the last cluster in use: what grows there later reads zeros. */
static int cut_tail(struct compact *c)
{
	uint64_t end_off = used_end(c) << c->q->cluster_bits;
	int rc;

	if (c->file->is_block)
		return 0;
	rc = file_cut(c->file, end_off);
	return rc ? rc : file_sync(c->file);
}

/* The second barrier has ended, so the old places are free: notes that, and gives them back. */
static int retire(struct compact *c, uint64_t n)
{
	uint64_t end;

	for (unsigned i = 0; i < c->n_moves; i++) {
		const struct move *move = &c->moves[i];
		bool table = compact_bit(c->tables, move->src);

		compact_set_bits(c->used, move->src, n, false);
		compact_set_bits(c->tables, move->src, n, false);
		compact_set_bits(c->used, move->dst, n, true);
		compact_set_bits(c->tables, move->dst, n, table);
	}
	end = used_end(c);
	for (unsigned i = 0; i < c->n_moves; i++)
		if (c->moves[i].src < end)
			file_discard(c->file, c->moves[i].src << c->q->cluster_bits,
				     n << c->q->cluster_bits);
	return cut_tail(c);
}

/* Makes the batch's moves of n clusters each, as many as there is space for. */
static int make_moves(struct compact *c, uint64_t n)
{
	unsigned cluster_bits = c->q->cluster_bits;
	int rc = 0;

	for (unsigned i = 0; i < c->n_moves; i++) {
		const struct move *move = &c->moves[i];

		if (!move->entry_off) /* in use and no entry found: not what was checked */
			return -EUCLEAN;
		rc = copy_bytes(c, move->src << cluster_bits, move->dst << cluster_bits,
				n << cluster_bits);
		if (!err_cannot_grow(rc)) {
			if (rc)
				return rc;
			continue;
		}
		file_discard(c->file, move->dst << cluster_bits, n << cluster_bits);
		c->full = !i;
		c->n_moves = i;
		break;
	}
	if (!c->n_moves)
		return 0;
	rc = file_sync(c->file);
	if (!rc)
		rc = write_entries(c);
	if (!rc)
		rc = file_sync(c->file);
	return rc ? rc : retire(c, n);
}

static int move_table(struct compact *c, const struct move *table, uint64_t dst)
{
	uint64_t n = c->q->table_clusters, end_off = (dst + n) << c->q->cluster_bits;
	int rc = 0;

	if (end_off > c->file->len)
		rc = file_truncate(c->file, end_off);
	if (err_cannot_grow(rc)) {
		c->full = true;
		return 0;
	}
	c->moves[0] = *table;
	c->moves[0].dst = dst;
	c->n_moves = 1;
	return rc ? rc : make_moves(c, n);
}

/* One batch for the lowest gap. */
static int fill_gap(struct compact *c)
{
	uint64_t n = c->q->table_clusters, end = used_end(c);
	int rc;

	c->last_table = c->after_gap = (struct move){ 0 };
	rc = compact_each_entry(c, c->q->l1_off, c->l1_buf, note_table);
	if (rc)
		return rc;
	if (c->last_table.entry_off && c->last_table.src + n == end && c->last_table.src > c->gap &&
	    c->gap_end - c->gap >= n)
		return move_table(c, &c->last_table, c->gap);
	choose_data(c);
	if (c->n_moves) {
		rc = compact_each_data_entry(c, note_entry);
		return rc ? rc : make_moves(c, 1);
	}
	/* Only tables lie behind it. */
	if (c->gap_end - c->gap >= n && c->last_table.src > c->gap)
		return move_table(c, &c->last_table, c->gap);
	if (c->after_gap.entry_off && end + n <= c->n_clusters)
		return move_table(c, &c->after_gap, end);
	c->floor = c->gap_end;
	return 0;
}

static uint64_t count_gaps(const struct compact *c)
{
	uint64_t n = 0, end = used_end(c);

	for (uint64_t i = 0; i < end; i++)
		n += !compact_bit(c->used, i);
	return n;
}

static void compact_free(struct compact *c)
{
	free(c->used);
	free(c->tables);
	free(c->moves);
	free(c->l1_buf);
	free(c->l2_buf);
	free(c->copy);
	free(c->there);
}

static int compact_init(struct compact *c, struct qed *q, uint64_t end_off)
{
	uint64_t n_bytes;

	*c = (struct compact){ .q = q, .file = q->layer.file };
	c->n_clusters = MIN(q->layer.file->len, end_off) >> q->cluster_bits;
	n_bytes = (c->n_clusters + q->table_clusters) / 8 + 1;
	if (n_bytes > COMPACT_MAX_BITMAP)
		return -EFBIG;
	c->buf_len = MIN(q->table_len, (uint64_t)COMPACT_BUF_LEN);
	c->used = calloc(1, n_bytes);
	c->tables = calloc(1, n_bytes);
	c->moves = calloc(COMPACT_MAX_MOVES, sizeof(*c->moves));
	c->l1_buf = malloc(c->buf_len);
	c->l2_buf = malloc(c->buf_len);
	c->copy = malloc(c->buf_len);
	c->there = malloc(c->buf_len);
	return c->used && c->tables && c->moves && c->l1_buf && c->l2_buf && c->copy && c->there
		       ? 0
		       : -ENOMEM;
}

int qed_compact(struct qed *q, uint64_t end_off, struct qed_compacted *out)
{
	struct compact c;
	int rc = compact_init(&c, q, end_off);

	*out = (struct qed_compacted){ 0 };
	if (!rc)
		rc = compact_find_used(&c);
	/* What was written last, copies of a run among it, is durable before it is moved. */
	if (!rc)
		rc = file_sync(c.file);
	while (!rc && !c.full && find_gap(&c))
		rc = fill_gap(&c);
	if (!rc)
		rc = cut_tail(&c);
	if (!rc) {
		out->end_off = used_end(&c) << q->cluster_bits;
		out->n_left = count_gaps(&c);
		out->no_space = c.full;
	}
	compact_free(&c);
	return rc;
}
