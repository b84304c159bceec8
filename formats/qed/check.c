/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: the check the specification describes. Every L1 and L2 entry must lie
 * on whole clusters of the file, and every cluster must be referred to once:
 * twice is corruption, never is a leak.
 *
 * Memory is bounded by one bit a cluster for a window of the file; a larger
 * file is walked again for each window that something refers to. Tables are
 * looked at first: should two overlap, no data entry is read, since one table
 * named by every L1 entry would be walked for years. A map of the whole file
 * was rejected because a sparse file of 8 EiB costs its author nothing.
 *
 * NEED_CHECK on an image without errors is reported as a finding of the
 * harmless kind (is_leak) and not counted.
 */
#include "formats/qed/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_holes.h"

#define CHECK_WINDOW_LEN (16 * MiB) /* bytes: 128 Mi clusters */
#define CHECK_BUF_LEN    (1 * MiB)  /* bytes of a table read at once */

/* 128 TiB of 4 KiB clusters. More passes are needed only for references strewn over exabytes. */
#define CHECK_MAX_PASSES 256

struct walk {
	struct qed *q;
	struct check_result *result;
	uint64_t n_reports;
	uint8_t *l1_buf, *l2_buf; /* CHECK_BUF_LEN or one table, what is less */
	uint64_t buf_len;
	uint64_t n_clusters; /* whole ones in the file */

	uint8_t *seen;        /* bit i: cluster lo + i is referred to */
	uint64_t lo, hi;      /* the window, in clusters */
	uint64_t window_max;  /* clusters */
	uint64_t next_lo;     /* lowest cluster >= hi referred to; UINT64_MAX: none */
	uint64_t unused_from; /* first cluster of the unreferenced range that reaches up to lo */
	bool with_data;       /* read L2 tables too */
	bool first;           /* findings about entries themselves are told in one pass only */
	bool overlap;         /* of tables */
	uint64_t guest_off;   /* of the entry looked at */
	uint64_t end_cluster; /* first one behind all that is referred to */
};

__attribute__((format(printf, 3, 4))) static void report(struct walk *w, bool is_leak,
							 const char *format, ...)
{
	char text[256];
	va_list args;

	if (!w->result->report || w->n_reports >= w->result->max_reports)
		return;
	w->n_reports++;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	w->result->report(w->result->opaque, is_leak, text);
}

static bool is_seen(const struct walk *w, uint64_t cluster)
{
	return w->seen[(cluster - w->lo) / 8] >> ((cluster - w->lo) % 8) & 1;
}

/* Notes a reference to n clusters, as far as they lie in the window. True: one of them had a
 * reference before. */
static bool mark_seen(struct walk *w, uint64_t cluster, uint64_t n)
{
	uint64_t end = cluster + n;
	bool twice = false;

	w->end_cluster = MAX(w->end_cluster, end);
	if (end > w->hi)
		w->next_lo = MIN(w->next_lo, MAX(cluster, w->hi));
	for (uint64_t i = MAX(cluster, w->lo); i < MIN(end, w->hi); i++) {
		twice |= is_seen(w, i);
		w->seen[(i - w->lo) / 8] |= (uint8_t)(1u << ((i - w->lo) % 8));
	}
	return twice;
}

/* Whether [host_off, host_off + len) is on whole clusters of the file. If not, and `tell` is set,
 * it counts as an error. A range inside the header is found by mark_seen(). */
static bool range_ok(struct walk *w, bool tell, const char *what, uint64_t host_off, uint64_t len)
{
	const struct qed *q = w->q;
	bool aligned = is_aligned(host_off, q->layer.cluster_len);
	uint64_t end;

	if (aligned && !add_u64(host_off, len, &end) && end >> q->cluster_bits <= w->n_clusters)
		return true;
	if (tell) {
		w->result->n_errors++;
		report(w, false, "%s of guest offset %#" PRIx64 ": host offset %#" PRIx64 " is %s",
		       what, w->guest_off, host_off,
		       aligned ? "beyond the end of the file" : "not on a cluster");
	}
	return false;
}

/* How to walk a table. */
struct level {
	unsigned guest_bits; /* log2 of the guest bytes that one entry maps */
	uint8_t *buf;
	bool tell; /* of what can't be read */
	void (*visit)(struct walk *w, uint64_t entry);
};

/* Visits each entry of a table that is not 0; the table begins to map at guest_off. */
static void walk_table(struct walk *w, const struct level *level, uint64_t table_off,
		       uint64_t guest_off)
{
	uint64_t table_len = w->q->table_len, hole;
	int rc;

	for (uint64_t at = 0; at < table_len; at += w->buf_len) {
		hole = file_known_hole(w->q->layer.file, table_off + at);
		if (hole >= w->buf_len) {
			at += round_down(MIN(hole, table_len - at), w->buf_len) - w->buf_len;
			continue;
		}
		rc = file_read_padded(w->q->layer.file, level->buf, w->buf_len, table_off + at);
		/* Later passes read the same tables again: what fails only now must be told,
		 * too. */
		if (rc && (level->tell || !w->result->n_check_errors)) {
			w->result->n_check_errors++;
			snprintf(w->result->incomplete, sizeof(w->result->incomplete),
				 "the table at host offset %#" PRIx64 " can't be read: %s",
				 table_off + at, strerror(-rc));
			report(w, false, "%s", w->result->incomplete);
		}
		for (uint64_t i = 0; !rc && i < w->buf_len; i += QED_ENTRY_LEN) {
			uint64_t entry = le64(level->buf + i);

			if (!entry)
				continue;
			w->guest_off = guest_off + ((at + i) / QED_ENTRY_LEN << level->guest_bits);
			level->visit(w, entry);
		}
	}
}

static void visit_data(struct walk *w, uint64_t entry)
{
	const struct qed *q = w->q;
	bool count = w->first && w->guest_off < q->layer.guest_len;

	if (entry == QED_ENTRY_ZERO) {
		w->result->n_zero_clusters += count;
		return;
	}
	if (!range_ok(w, w->first, "data cluster", entry, q->layer.cluster_len))
		return;
	w->result->n_allocated_clusters += count;
	if (!mark_seen(w, entry >> q->cluster_bits, 1))
		return;
	w->result->n_errors++;
	report(w, false,
	       "data cluster of guest offset %#" PRIx64 ": host offset %#" PRIx64
	       " is in use for something else",
	       w->guest_off, entry);
}

static void visit_l2(struct walk *w, uint64_t entry)
{
	const struct qed *q = w->q;
	const struct level l2 = { q->cluster_bits, w->l2_buf, w->first, visit_data };

	if (range_ok(w, false, "L2 table", entry, q->table_len))
		walk_table(w, &l2, entry, w->guest_off);
}

/* The walks without data tell what is wrong with tables; those with data note where they are. */
static void visit_table(struct walk *w, uint64_t entry)
{
	const struct qed *q = w->q;

	if (!range_ok(w, w->first && !w->with_data, "L2 table", entry, q->table_len) ||
	    !mark_seen(w, entry >> q->cluster_bits, q->table_clusters))
		return;
	w->overlap = true;
	w->result->n_errors++;
	report(w, false,
	       "L2 table of guest offset %#" PRIx64 ": host offset %#" PRIx64
	       " is in use for something else",
	       w->guest_off, entry);
}

/* Counts clusters of the window that nothing refers to, in ranges that may reach into the next
 * window. */
static void count_leaks(struct walk *w)
{
	for (uint64_t i = w->lo; i < w->hi; i++) {
		if ((i - w->lo) % 64 == 0 && !le64(w->seen + (i - w->lo) / 8)) {
			i += 63; /* the common case of a sparse file */
			continue;
		}
		if (!is_seen(w, i))
			continue;
		if (i > w->unused_from) {
			w->result->n_leaks += i - w->unused_from;
			report(w, true,
			       "%" PRIu64 " clusters at host offset %#" PRIx64 " are not in use",
			       i - w->unused_from, w->unused_from << w->q->cluster_bits);
		}
		w->unused_from = i + 1;
	}
}

static void walk_window(struct walk *w)
{
	struct qed *q = w->q;
	const struct level tables = { q->l2_bits, w->l1_buf, w->first && !w->with_data,
				      visit_table };
	const struct level data = { q->l2_bits, w->l1_buf, false, visit_l2 };

	w->hi = MIN(w->n_clusters, w->lo + w->window_max);
	w->next_lo = UINT64_MAX;
	memset(w->seen, 0, div_round_up(w->hi - w->lo, 64) * 8);
	mark_seen(w, 0, q->header_len >> q->cluster_bits);
	mark_seen(w, q->l1_off >> q->cluster_bits, q->table_clusters);
	walk_table(w, &tables, q->l1_off, 0);
	if (!w->with_data)
		return;
	walk_table(w, &data, q->l1_off, 0);
	count_leaks(w);
}

/* Walks the windows that anything refers to, from the start of the file up. */
static void walk_file(struct walk *w, bool with_data)
{
	w->with_data = with_data;
	w->unused_from = 0;
	w->lo = 0;
	for (unsigned n = 0; w->lo < w->n_clusters; n++, w->lo = w->next_lo) {
		if (n == CHECK_MAX_PASSES) {
			w->result->n_check_errors++;
			report(w, false,
			       "the part from host offset %#" PRIx64
			       " on was not checked: the file is too large",
			       w->lo << w->q->cluster_bits);
			return;
		}
		w->first = n == 0;
		walk_window(w);
		if (w->next_lo == UINT64_MAX)
			return;
	}
}

static void finish(struct walk *w)
{
	struct qed *q = w->q;

	w->result->image_end_off = w->end_cluster << q->cluster_bits;
	/* A device is as long as it is; what lies behind the image is not the image's. */
	if (w->with_data && !w->result->n_check_errors && !q->layer.file->is_block &&
	    w->n_clusters > w->unused_from) {
		w->result->n_leaks += w->n_clusters - w->unused_from;
		report(w, true,
		       "%" PRIu64 " clusters at the end, from host offset %#" PRIx64
		       " on, are not in use",
		       w->n_clusters - w->unused_from, w->unused_from << q->cluster_bits);
	}
	if (w->overlap)
		report(w, false, "the data clusters were not checked: tables overlap");
	if (q->need_check && !w->result->n_errors && !w->result->n_check_errors)
		report(w, true, "marked as in need of a check, which has found no error");
}

/* All clusters of the L1 table lie in the file. Reading asks for less, but to QEMU the file ends
 * with its last whole cluster. */
static bool l1_is_whole(struct walk *w)
{
	struct qed *q = w->q;
	bool ok = (q->l1_off + q->table_len) >> q->cluster_bits <= w->n_clusters;

	if (!ok) {
		w->result->n_errors++;
		report(w, false,
		       "the last cluster of the L1 table (host offset %#" PRIx64
		       ") is not whole in the file",
		       q->l1_off);
	}
	return ok;
}

int qed_check(struct layer *layer, struct check_result *result, struct err *err)
{
	struct qed *q = qed_of(layer);
	struct walk w = {
		.q = q,
		.result = result,
		.buf_len = MIN(q->table_len, (uint64_t)CHECK_BUF_LEN),
		.n_clusters = layer->file->len >> q->cluster_bits,
	};
	autofree uint8_t *seen = NULL, *bufs = malloc(2 * w.buf_len);

	result->n_total_clusters = div_round_up(layer->guest_len, layer->cluster_len);
	w.window_max = MIN(round_up(w.n_clusters, 64), 8 * CHECK_WINDOW_LEN);
	seen = malloc(w.window_max / 8 + 1);
	if (!bufs || !seen)
		return err_set(err, -ENOMEM, "out of memory for a check");
	w.seen = seen;
	w.l1_buf = bufs;
	w.l2_buf = bufs + w.buf_len;
	if (l1_is_whole(&w)) {
		walk_file(&w, false);
		if (!w.overlap)
			walk_file(&w, true);
	}
	finish(&w);
	return 0;
}
