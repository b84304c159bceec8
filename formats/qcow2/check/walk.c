/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * L1 and L2 tables under check. For one source window all L1 tables are read
 * twice: first to count how many entries refer to each L2 table, then to walk
 * each table once with that weight. The active L1 comes first, so that a table
 * shared with snapshots is walked, and named in reports, as the guest's.
 *
 * An entry is judged in the first pass only; its COPIED flag, which must say
 * whether the refcount is one, in the pass whose window has the cluster.
 * In inactive tables COPIED means nothing (the specification says so).
 */
#include "formats/qcow2/check/walk.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/refs.h"
#include "formats/qcow2/check/report.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/file.h"

typedef int (*l1_entry_fn)(struct qcow2_check *c, const struct check_l1 *l1, uint32_t idx,
			   uint64_t entry);

/* One L2 table being walked. */
struct l2_walk {
	const struct check_l1 *l1; /* the first that refers to it */
	uint64_t guest_off;        /* of the entry being looked at */
	uint64_t host_off;         /* of the table */
	uint32_t weight;           /* L1 entries that refer to it */
	uint8_t *entry;            /* the one being looked at, in l2_piece */
};

static const char *whose(const struct check_l1 *l1, char out[32])
{
	if (l1->snapshot < 0)
		snprintf(out, 32, "active");
	else
		snprintf(out, 32, "snapshot %d", l1->snapshot);
	return out;
}

/* The COPIED flag is wrong, and this is the pass that finds it. */
static bool copied_is_wrong(const struct qcow2_check *c, uint64_t cluster, bool copied)
{
	return !c->refs_only && check_window_has(&c->target, cluster) &&
	       copied != check_refcount_is_one(c, cluster);
}

/* In a repair: inverts the flag in the piece of the table, which is written back after its walk. */
static bool mend_copied(struct qcow2_check *c, uint8_t *entry)
{
	if (!c->mend_copied)
		return false;
	put_be64(entry, be64(entry) ^ QCOW2_COPIED);
	c->piece_changed = true;
	return true;
}

/* Writes a piece back whose flags were mended. 0 or -errno. */
static int write_changed_piece(struct qcow2_check *c, const uint8_t *piece, size_t len,
			       uint64_t host_off)
{
	if (!c->piece_changed)
		return 0;
	c->piece_changed = false;
	c->written = true;
	c->write_error = file_write(c->file, piece, len, host_off);
	return c->write_error;
}

/* Calls `each` for every entry of the table that is not 0. */
static int walk_l1(struct qcow2_check *c, const struct check_l1 *l1, l1_entry_fn each)
{
	const uint32_t per_piece = CHECK_PIECE_LEN / 8;

	for (uint32_t at = 0; at < l1->n_entries; at += per_piece) {
		uint32_t n = MIN(per_piece, l1->n_entries - at);
		int rc = check_read(c, "an L1 table", c->l1_piece, 8 * n,
				    l1->off + UINT64_C(8) * at);

		for (uint32_t i = 0; !rc && i < n; i++) {
			uint64_t entry = be64(c->l1_piece + 8 * i);

			if (entry)
				rc = each(c, l1, at + i, entry);
		}
		if (!rc)
			rc = write_changed_piece(c, c->l1_piece, 8 * n, l1->off + UINT64_C(8) * at);
		if (rc)
			return rc;
	}
	return 0;
}

static int walk_all_l1(struct qcow2_check *c, l1_entry_fn each)
{
	struct check_l1 active = { .off = c->q->hdr.l1_off,
				   .n_entries = c->q->hdr.l1_size,
				   .snapshot = -1 };
	int rc = walk_l1(c, &active, each);

	for (uint32_t i = 0; !rc && i < c->snapshots.n; i++)
		rc = walk_l1(c, &c->snapshots.list[i], each);
	return rc;
}

/* Offset of the L2 table an entry refers to; 0 where it can be none. */
static uint64_t l2_off(const struct qcow2_check *c, uint64_t entry)
{
	uint64_t off = entry & QCOW2_OFF_MASK;

	return is_aligned(off, qcow2_cluster_len(c->q)) && off < c->file->len ? off : 0;
}

static int find_l2_end(struct qcow2_check *c, const struct check_l1 *l1, uint32_t idx,
		       uint64_t entry)
{
	uint64_t off = l2_off(c, entry);

	if (off)
		c->l2_end = MAX(c->l2_end, (off >> c->q->cluster_bits) + 1);
	return 0;
}

int check_find_l2_end(struct qcow2_check *c)
{
	/* At least one source window: the first one judges the entries. */
	c->l2_end = 1;
	return walk_all_l1(c, find_l2_end);
}

static void judge_l1_entry(struct qcow2_check *c, const struct check_l1 *l1, uint32_t idx,
			   uint64_t entry)
{
	uint64_t off = entry & QCOW2_OFF_MASK;
	const char *wrong = NULL;
	char name[32];

	if (entry & QCOW2_L1_RESERVED)
		check_error(c, "L1 entry %u (%s): %#" PRIx64 " has reserved bits set", idx,
			    whose(l1, name), entry);
	if (!off && entry & QCOW2_COPIED)
		wrong = "refers to the header";
	else if (!is_aligned(off, qcow2_cluster_len(c->q)))
		wrong = "is not cluster aligned";
	else if (off >= c->file->len)
		wrong = "lies beyond the end of the file";
	if (wrong)
		check_error(c, "L1 entry %u (%s): L2 table offset %#" PRIx64 " %s", idx,
			    whose(l1, name), off, wrong);
}

static int count_l1_entry(struct qcow2_check *c, const struct check_l1 *l1, uint32_t idx,
			  uint64_t entry)
{
	uint64_t off = l2_off(c, entry), cluster = off >> c->q->cluster_bits;
	bool active = l1->snapshot < 0, copied = entry & QCOW2_COPIED;

	if (c->first_target && c->first_source)
		judge_l1_entry(c, l1, idx, entry);
	if (!off)
		return 0;
	if (c->first_source) {
		check_count(c, off, qcow2_cluster_len(c->q), CHECK_L2, 1);
		if (active && copied_is_wrong(c, cluster, copied) &&
		    !mend_copied(c, c->l1_piece + idx % (CHECK_PIECE_LEN / 8) * 8))
			(copied ? check_error : check_stale)(
				c,
				"L1 entry %u: COPIED is %s, but the refcount of the L2 table at "
				"offset %#" PRIx64 " is %s",
				idx, copied ? "set" : "clear", off, copied ? "not 1" : "1");
	}
	if (check_window_has(&c->source, cluster)) {
		uint32_t *n_refs = &c->source.counts[cluster - c->source.first];

		if (active && *n_refs && c->first_target)
			check_error(c,
				    "L1 entry %u: the L2 table at offset %#" PRIx64
				    " is in another entry, too",
				    idx, off);
		*n_refs = MIN(*n_refs + 1, CHECK_COUNT_MAX);
	}
	return 0;
}

__attribute__((format(printf, 3, 4), noinline)) static void entry_error(struct qcow2_check *c,
									const struct l2_walk *walk,
									const char *format, ...)
{
	char what[300], name[32];
	va_list args;

	if (!c->first_target)
		return;
	if (!check_wants_text(c)) {
		c->result->n_errors++;
		return;
	}
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	check_error(c, "guest offset %#" PRIx64 " (%s, L2 table at %#" PRIx64 "): %s",
		    walk->guest_off, whose(walk->l1, name), walk->host_off, what);
}

static void count_extents(struct qcow2_check *c, const struct l2_walk *walk, bool allocated,
			  bool compressed, bool zero)
{
	if (!c->first_target)
		return;
	if (walk->l1->snapshot >= 0) {
		c->result->n_snapshot_compressed_clusters += compressed;
		return;
	}
	c->result->n_allocated_clusters += allocated;
	c->result->n_compressed_clusters += compressed;
	c->result->n_zero_clusters += zero;
}

static void check_compressed(struct qcow2_check *c, const struct l2_walk *walk, uint64_t entry,
			     uint64_t bitmap)
{
	uint64_t off = qcow2_comp_host_off(entry, c->q->cluster_bits);
	uint32_t len = qcow2_comp_host_len(entry, c->q->cluster_bits);

	count_extents(c, walk, true, true, false);
	if (c->q->hdr.incompat & QCOW2_INCOMPAT_DATA_FILE) {
		entry_error(c, walk, "compressed, in an image with an external data file");
		return;
	}
	if (entry & QCOW2_COPIED)
		entry_error(c, walk, "COPIED is set for a compressed cluster");
	if (bitmap)
		entry_error(c, walk, "subcluster bits %#" PRIx64 " for a compressed cluster",
			    bitmap);
	/* The file may end inside the last sector, whose rest means nothing, and not before it. */
	if (off >= c->file->len || off + len >= c->file->len + 512 ||
	    !check_count(c, off, len, CHECK_DATA | CHECK_PACKED, walk->weight))
		entry_error(c, walk,
			    "compressed data at offset %#" PRIx64
			    ", %u bytes, lies beyond the end of the file",
			    off, len);
}

static void check_copied(struct qcow2_check *c, const struct l2_walk *walk, uint64_t off,
			 bool copied)
{
	uint64_t idx = off >> c->q->cluster_bits;

	if (walk->l1->snapshot >= 0 || !copied_is_wrong(c, idx, copied) ||
	    mend_copied(c, walk->entry))
		return;
	(copied ? check_error : check_stale)(
		c,
		"guest offset %#" PRIx64
		": COPIED is %s, but the refcount of the cluster at offset %#" PRIx64 " is %s",
		walk->guest_off, copied ? "set" : "clear", off, copied ? "not 1" : "1");
}

/* A cluster in an external data file: no refcounts there, COPIED always set. A pull has the file
 * open, and must know before its first write what qcow2_map() would stop at. */
static void check_external(struct qcow2_check *c, const struct l2_walk *walk, uint64_t off,
			   bool copied, bool zero)
{
	const struct file *data = c->q->layer.data;

	if (data != c->file && off >= data->len && !zero)
		entry_error(c, walk, "offset %#" PRIx64 " lies beyond the end of the data file",
			    off);
	if (off != walk->guest_off)
		entry_error(c, walk, "offset %#" PRIx64 " in the data file is not the guest's",
			    off);
	if (!copied)
		entry_error(c, walk, "COPIED is clear for a cluster in an external data file");
}

/* Reports bits that contradict each other or the image's version, in an entry without compressed
 * data. */
static void judge_l2_entry(struct qcow2_check *c, const struct l2_walk *walk, uint64_t entry,
			   uint64_t bitmap)
{
	bool extended = c->q->l2_entry_len == 16,
	     external = c->q->hdr.incompat & QCOW2_INCOMPAT_DATA_FILE;
	uint64_t off = entry & QCOW2_OFF_MASK;
	uint32_t data = bitmap, zero = bitmap >> 32;

	if (entry & QCOW2_L2_RESERVED)
		entry_error(c, walk, "L2 entry %#" PRIx64 " has reserved bits set", entry);
	if (entry & QCOW2_ZERO && (extended || c->q->hdr.version < 3))
		entry_error(c, walk, "L2 entry %#" PRIx64 " has the zero flag, which this %s",
			    entry,
			    extended ? "image's extended entries have not" : "version has not");
	if (data & zero)
		entry_error(c, walk, "subclusters both allocated and zero (bits %#" PRIx64 ")",
			    bitmap);
	if (off || external)
		return;
	if (data)
		entry_error(c, walk, "subclusters allocated (bits %#" PRIx64 ") in no cluster",
			    bitmap);
	else if (entry & QCOW2_COPIED && !(entry & QCOW2_ZERO) && !zero)
		entry_error(c, walk, "its data would be the header, at offset 0");
}

static void check_standard(struct qcow2_check *c, const struct l2_walk *walk, uint64_t entry,
			   uint64_t bitmap)
{
	bool external = c->q->hdr.incompat & QCOW2_INCOMPAT_DATA_FILE,
	     copied = entry & QCOW2_COPIED;
	bool zero = c->q->l2_entry_len == 16 ? bitmap >> 32 : entry & QCOW2_ZERO;
	uint64_t off = entry & QCOW2_OFF_MASK, cluster_len = qcow2_cluster_len(c->q);
	bool allocated = off || (external && copied && !zero);

	if (c->first_target)
		judge_l2_entry(c, walk, entry, bitmap);
	count_extents(c, walk, allocated, false, zero);
	if (!allocated)
		return;
	if (!is_aligned(off, cluster_len)) {
		entry_error(c, walk, "cluster offset %#" PRIx64 " is not cluster aligned", off);
		return;
	}
	if (external) {
		check_external(c, walk, off, copied,
			       zero && (c->q->l2_entry_len == 8 || !(uint32_t)bitmap));
		return;
	}
	if (!check_count(c, off, cluster_len, CHECK_DATA | CHECK_PLAIN, walk->weight))
		entry_error(c, walk, "cluster offset %#" PRIx64 " lies beyond the end of the file",
			    off);
	else
		check_copied(c, walk, off, copied);
}

static int walk_l2(struct qcow2_check *c, struct l2_walk *walk)
{
	const uint64_t cluster_len = qcow2_cluster_len(c->q);
	const uint64_t piece_len = MIN(cluster_len, (uint64_t)CHECK_PIECE_LEN);
	const unsigned entry_len = c->q->l2_entry_len;

	for (uint64_t at = 0; at < cluster_len; at += piece_len) {
		int rc = check_read(c, "an L2 table", c->l2_piece, piece_len, walk->host_off + at);

		if (rc)
			return rc;
		for (uint64_t i = 0; i < piece_len;
		     i += entry_len, walk->guest_off += cluster_len) {
			uint64_t entry = be64(c->l2_piece + i);
			uint64_t bitmap = entry_len == 16 ? be64(c->l2_piece + i + 8) : 0;

			walk->entry = c->l2_piece + i;
			if (entry & QCOW2_COMPRESSED)
				check_compressed(c, walk, entry, bitmap);
			else if (entry | bitmap)
				check_standard(c, walk, entry, bitmap);
		}
		rc = write_changed_piece(c, c->l2_piece, piece_len, walk->host_off + at);
		if (rc)
			return rc;
	}
	return 0;
}

static int walk_l1_entry(struct qcow2_check *c, const struct check_l1 *l1, uint32_t idx,
			 uint64_t entry)
{
	uint64_t off = l2_off(c, entry), cluster = off >> c->q->cluster_bits;
	struct l2_walk walk = { .l1 = l1, .host_off = off };
	uint32_t *counter;

	if (!off || !check_window_has(&c->source, cluster))
		return 0;
	counter = &c->source.counts[cluster - c->source.first];
	if (*counter & CHECK_WALKED)
		return 0;
	walk.weight = *counter;
	walk.guest_off = idx * c->q->l2_entries << c->q->cluster_bits;
	*counter |= CHECK_WALKED;
	return walk_l2(c, &walk);
}

int check_walk_source(struct qcow2_check *c)
{
	int rc = walk_all_l1(c, count_l1_entry);

	return rc ? rc : walk_all_l1(c, walk_l1_entry);
}
