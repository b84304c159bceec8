/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What occupies clusters besides L2 tables and guest data: the header, L1
 * tables, refcount table and blocks, the snapshot table, bitmaps and the LUKS
 * header. Each of these clusters has one owner: a second reference is
 * corruption whatever its refcount says.
 *
 * Bitmaps count only while their autoclear bit vouches for them; without it
 * their clusters are leaks, which is what QEMU reports, too.
 */
#include "formats/qcow2/check/meta.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/refs.h"
#include "formats/qcow2/check/report.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"

#define MAX_SNAPSHOT_EXTRA     1024u
#define MIN_V3_EXTRA           16u
#define BITMAP_ENTRY_LEN       24u
#define BITMAP_TABLE_RESERVED  UINT64_C(0xff000000000001fe)
#define BITMAP_FLAGS_RESERVED  UINT32_C(0xfffffff8)
#define BITMAP_EXTRA_IS_FINE   UINT32_C(4) /* unknown extra data is no reason not to use it */
#define BITMAP_MIN_GRANULARITY 9u          /* bits */
#define BITMAP_MAX_GRANULARITY 31u
#define BITMAP_MAX_NAME_LEN    1023u

/* Counts a table that has its clusters to itself; judged in the first pass. */
static void count_table(struct qcow2_check *c, const char *what, uint64_t off, uint64_t len)
{
	const char *wrong = NULL;

	if (!len)
		return;
	if (!is_aligned(off, qcow2_cluster_len(c->q)))
		wrong = "is not cluster aligned";
	else if (!check_count(c, off, len, CHECK_EXCLUSIVE, 1))
		wrong = "lies beyond the end of the file";
	if (wrong && c->first_target)
		check_error(c, "%s at offset %#" PRIx64 ", %" PRIu64 " bytes, %s", what, off, len,
			    wrong);
}

static bool table_fits(const struct qcow2_check *c, uint64_t off, uint64_t len)
{
	return off && is_aligned(off, qcow2_cluster_len(c->q)) && qcow2_holds_table(c->q, off, len);
}

static void count_snapshot(struct qcow2_check *c, uint32_t idx, const uint8_t *head,
			   uint64_t *l1_bytes)
{
	struct check_l1 l1 = {
		.off = be64(head),
		.n_entries = be32(head + 8),
		.snapshot = idx,
	};
	uint64_t len = l1.n_entries * UINT64_C(8);
	uint32_t n_extra = be32(head + 36);

	if (n_extra > MAX_SNAPSHOT_EXTRA || (c->q->hdr.version >= 3 && n_extra < MIN_V3_EXTRA))
		check_error(c, "snapshot %u has %u bytes of extra data", idx, n_extra);
	if (!len)
		return;
	if (len > QCOW2_MAX_L1_LEN || !table_fits(c, l1.off, len)) {
		check_error(c,
			    "snapshot %u: its L1 table at offset %#" PRIx64
			    ", %u entries, is misplaced or too large",
			    idx, l1.off, l1.n_entries);
		return;
	}
	/* Tables that need more room than the file has overlap. */
	*l1_bytes += len;
	if (*l1_bytes > round_up(c->file->len, qcow2_cluster_len(c->q))) {
		check_error(c, "snapshot %u: its L1 table overlaps others", idx);
		return;
	}
	c->snapshots.list[c->snapshots.n++] = l1;
}

int check_load_snapshots(struct qcow2_check *c)
{
	uint64_t at = c->q->hdr.snapshots_off, l1_bytes = 0;

	if (!c->q->hdr.n_snapshots)
		return 0;
	c->snapshots.list = calloc(c->q->hdr.n_snapshots, sizeof(*c->snapshots.list));
	if (!c->snapshots.list)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->q->hdr.n_snapshots; i++) {
		uint8_t head[QCOW2_SNAPSHOT_LEN];
		int rc;

		if (at >= c->file->len || c->file->len - at < QCOW2_SNAPSHOT_LEN) {
			check_error(c, "the snapshot table ends after %u of %u entries", i,
				    c->q->hdr.n_snapshots);
			break;
		}
		rc = check_read(c, "the snapshot table", head, sizeof(head), at);
		if (rc)
			return rc;
		count_snapshot(c, i, head, &l1_bytes);
		/* No overflow: at is below 2^63. */
		at += round_up(QCOW2_SNAPSHOT_LEN + (uint64_t)be32(head + 36) + be16(head + 12) +
				       be16(head + 14),
			       8);
	}
	c->snapshots.table_len = at - c->q->hdr.snapshots_off;
	return 0;
}

static void count_refblocks(struct qcow2_check *c, const uint8_t *entries, uint64_t first,
			    uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t entry = be64(entries + 8 * i), off = entry & QCOW2_REFTABLE_OFF_MASK;

		if (entry & ~QCOW2_REFTABLE_OFF_MASK && c->first_target)
			check_error(c, "refcount table entry %" PRIu64 " has reserved bits set",
				    first + i);
		if (!off)
			continue;
		if (off >= c->file->len) {
			if (c->first_target)
				check_error(c,
					    "refcount table entry %" PRIu64
					    ": block at offset %#" PRIx64
					    " lies beyond the end of the file",
					    first + i, off);
			continue;
		}
		count_table(c, "refcount block", off, qcow2_cluster_len(c->q));
	}
}

static int count_refcounts(struct qcow2_check *c)
{
	uint64_t len = (uint64_t)c->q->hdr.reftable_clusters << c->q->cluster_bits, n;
	int rc;

	count_table(c, "the refcount table", c->q->hdr.reftable_off, len);
	for (uint64_t at = 0; at < len; at += n) {
		n = MIN(len - at, (uint64_t)CHECK_PIECE_LEN);
		rc = check_read(c, "the refcount table", c->ref_piece, n,
				c->q->hdr.reftable_off + at);
		if (rc)
			return rc;
		count_refblocks(c, c->ref_piece, at / 8, n / 8);
	}
	return 0;
}

static int count_bitmap_data(struct qcow2_check *c, uint64_t table_off, uint64_t table_len)
{
	uint64_t n;

	for (uint64_t at = 0; at < table_len; at += n) {
		int rc;

		n = MIN(table_len - at, (uint64_t)CHECK_PIECE_LEN);
		rc = check_read(c, "a bitmap table", c->ref_piece, n, table_off + at);
		if (rc)
			return rc;
		for (uint64_t i = 0; i < n; i += 8) {
			uint64_t entry = be64(c->ref_piece + i), off = entry & QCOW2_OFF_MASK;

			if ((entry & BITMAP_TABLE_RESERVED || (off && entry & 1)) &&
			    c->first_target)
				check_error(c,
					    "bitmap table at offset %#" PRIx64 ": entry %" PRIu64
					    " has reserved bits set",
					    table_off, (at + i) / 8);
			if (off)
				count_table(c, "bitmap data", off, qcow2_cluster_len(c->q));
		}
	}
	return 0;
}

/* Reports also bitmaps that the format allows and with which QEMU does not open an image: a user
 * who was told "clean" could not start the virtual machine. */
static void judge_bitmap(struct qcow2_check *c, const uint8_t *entry, uint64_t off)
{
	uint32_t flags = be32(entry + 12), extra_len = be32(entry + 20);

	if (flags & BITMAP_FLAGS_RESERVED || entry[16] != 1 || entry[17] > 63 || !be16(entry + 18))
		check_error(c, "the bitmap with its table at offset %#" PRIx64 " is malformed",
			    off);
	else if (entry[17] < BITMAP_MIN_GRANULARITY || entry[17] > BITMAP_MAX_GRANULARITY ||
		 be16(entry + 18) > BITMAP_MAX_NAME_LEN)
		check_error(c,
			    "the bitmap with its table at offset %#" PRIx64
			    " has a granularity of 2^%u bytes and a name of %u bytes; the limits "
			    "are 2^%u to 2^%u, and %u",
			    off, entry[17], be16(entry + 18), BITMAP_MIN_GRANULARITY,
			    BITMAP_MAX_GRANULARITY, BITMAP_MAX_NAME_LEN);
	else if (extra_len || flags & BITMAP_EXTRA_IS_FINE)
		check_error(c,
			    "the bitmap with its table at offset %#" PRIx64
			    " has extra data (%u bytes, flags %#x), which the format allows and "
			    "QEMU opens no image with",
			    off, extra_len, flags);
}

/* One directory entry; *table_bytes sums the tables up. */
static int count_bitmap(struct qcow2_check *c, const uint8_t *entry, uint64_t *table_bytes)
{
	uint64_t off = be64(entry), len = be32(entry + 8) * UINT64_C(8);

	if (c->first_target)
		judge_bitmap(c, entry, off);
	*table_bytes += len;
	if (!len)
		return 0;
	if (*table_bytes > c->file->len || !table_fits(c, off, len)) {
		if (c->first_target)
			check_error(c,
				    "bitmap table at offset %#" PRIx64 ", %" PRIu64
				    " bytes, is misplaced or overlaps others",
				    off, len);
		return 0;
	}
	count_table(c, "bitmap table", off, len);
	return count_bitmap_data(c, off, len);
}

static int count_bitmaps(struct qcow2_check *c)
{
	const struct qcow2 *q = c->q;
	uint64_t at = q->bitmaps.dir_off, end, table_bytes = 0;
	uint32_t n = 0;

	if (!table_fits(c, at, q->bitmaps.dir_len)) {
		if (c->first_target)
			check_error(c, "the bitmap directory at offset %#" PRIx64 " is misplaced",
				    at);
		return 0;
	}
	count_table(c, "the bitmap directory", at, q->bitmaps.dir_len);
	for (end = at + q->bitmaps.dir_len; n < q->bitmaps.n && end - at >= BITMAP_ENTRY_LEN; n++) {
		uint8_t entry[BITMAP_ENTRY_LEN];
		uint64_t entry_len;
		int rc = check_read(c, "the bitmap directory", entry, sizeof(entry), at);

		if (!rc)
			rc = count_bitmap(c, entry, &table_bytes);
		if (rc)
			return rc;
		entry_len = round_up(
			BITMAP_ENTRY_LEN + (uint64_t)be32(entry + 20) + be16(entry + 18), 8);
		if (entry_len > end - at)
			break;
		at += entry_len;
	}
	if (c->first_target && (n != q->bitmaps.n || at != end))
		check_error(c, "the bitmap directory has not the %u entries it should have",
			    q->bitmaps.n);
	return 0;
}

int check_count_metadata(struct qcow2_check *c)
{
	const struct qcow2 *q = c->q;
	int rc;

	count_table(c, "the header", 0, qcow2_cluster_len(q));
	count_table(c, "the L1 table", q->hdr.l1_off, q->hdr.l1_size * UINT64_C(8));
	if (q->hdr.n_snapshots)
		count_table(c, "the snapshot table", q->hdr.snapshots_off, c->snapshots.table_len);
	for (uint32_t i = 0; i < c->snapshots.n; i++)
		count_table(c, "a snapshot's L1 table", c->snapshots.list[i].off,
			    c->snapshots.list[i].n_entries * UINT64_C(8));
	if (q->luks.is_present)
		count_table(c, "the LUKS header", q->luks.off, q->luks.len);
	rc = c->refs_only ? 0 : count_refcounts(c);
	if (!rc && q->bitmaps.is_present)
		rc = count_bitmaps(c);
	return rc;
}
