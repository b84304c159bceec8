/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED's compaction: one walk over the tables marks what is in use, and one for
 * each batch of moves finds the entries that name what is moved. A reverse map
 * of the whole file, one walk for all, was rejected: 8 bytes a cluster instead
 * of two bits. Tables may be 1 GiB long, so they pass through in pieces, and
 * holes in them are skipped.
 */
#include "formats/qed/compact_walk.h"

#include <errno.h>

#include "formats/qed/compact.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "io/base.h"
#include "io/file.h"
#include "io/file/file_holes.h"

bool compact_is_hole(const struct compact *c, uint64_t off, uint64_t len)
{
	uint64_t hole = file_known_hole(c->file, off);

	return hole && hole >= len;
}

int compact_each_entry(struct compact *c, uint64_t table_off, uint8_t *buf, entry_fn each)
{
	for (uint64_t at = 0; at < c->q->table_len; at += c->buf_len) {
		int rc;

		if (compact_is_hole(c, table_off + at, c->buf_len))
			continue;
		rc = file_read_padded(c->file, buf, c->buf_len, table_off + at);
		if (rc)
			return rc;
		for (uint64_t i = 0; i < c->buf_len; i += QED_ENTRY_LEN)
			if (le64(buf + i))
				each(c, le64(buf + i), table_off + at + i);
	}
	return 0;
}

static bool in_file(const struct compact *c, uint64_t entry, uint64_t n)
{
	return is_aligned(entry, c->q->layer.cluster_len) && n <= c->n_clusters &&
	       entry >> c->q->cluster_bits <= c->n_clusters - n;
}

/* Each cluster lies in the file and has one entry; else this is not the image that was checked. */
static void mark_used(struct compact *c, uint64_t entry, uint64_t n, bool table)
{
	uint64_t first = entry >> c->q->cluster_bits;

	if (!in_file(c, entry, n)) {
		c->unsound = true;
		return;
	}
	for (uint64_t i = first; i < first + n; i++)
		c->unsound |= compact_bit(c->used, i);
	compact_set_bits(c->used, first, n, true);
	if (table)
		compact_set_bits(c->tables, first, n, true);
}

static void mark_table(struct compact *c, uint64_t entry, uint64_t entry_off)
{
	(void)entry_off;
	mark_used(c, entry, c->q->table_clusters, true);
}

static void mark_data(struct compact *c, uint64_t entry, uint64_t entry_off)
{
	(void)entry_off;
	if (entry != QED_ENTRY_ZERO)
		mark_used(c, entry, 1, false);
}

int compact_each_data_entry(struct compact *c, entry_fn each)
{
	for (uint64_t at = 0; at < c->q->table_len; at += c->buf_len) {
		int rc = 0;

		if (compact_is_hole(c, c->q->l1_off + at, c->buf_len))
			continue;
		rc = file_read_padded(c->file, c->l1_buf, c->buf_len, c->q->l1_off + at);
		for (uint64_t i = 0; !rc && i < c->buf_len; i += QED_ENTRY_LEN) {
			uint64_t l2_off = le64(c->l1_buf + i);

			if (l2_off && in_file(c, l2_off, c->q->table_clusters))
				rc = compact_each_entry(c, l2_off, c->l2_buf, each);
		}
		if (rc)
			return rc;
	}
	return 0;
}

int compact_find_used(struct compact *c)
{
	struct qed *q = c->q;
	int rc;

	mark_used(c, 0, q->header_len >> q->cluster_bits, true);
	mark_used(c, q->l1_off, q->table_clusters, true);
	rc = compact_each_entry(c, q->l1_off, c->l1_buf, mark_table);
	if (!rc && !c->unsound)
		rc = compact_each_data_entry(c, mark_data);
	/* One table more fits behind the end: move_table() may move a table there on its way. */
	if (!q->layer.file->is_block)
		c->n_clusters += q->table_clusters;
	return rc ? rc : c->unsound ? -EUCLEAN : 0;
}
