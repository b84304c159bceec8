/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: everything that reads through the backing file.
 *
 * An internal snapshot is an L1 table of its own, and where it has no entry it
 * reads the backing file like the guest's disk does. Dropping the link for the
 * guest alone turns those clusters to zeros (QEMU's block-stream and rebase do
 * that). So a range lacks data when any disk of the file lacks it, and what is
 * copied is given to each L2 table that lacks it (map.c, copies.c,
 * fill.c).
 *
 * The snapshots' L1 tables are resident (bounded by what the file can hold and
 * by MAX_L1_LEN). Pulling each snapshot as a disk of its own, one after the
 * other, was rejected: it would copy shared clusters once a snapshot and undo
 * the sharing of tables.
 */
#include "formats/qcow2/snapshots/snapshots.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/tables/empty.h"
#include "formats/qcow2/tables/tables.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define MAX_L1_LEN    (64 * MiB) /* bytes of all snapshots' L1 tables */
#define MAX_RUN_LEN   (1 * MiB)  /* guest bytes published at once, or PUBLISH_MAX_GRANULES */
#define MIN_SLICE_LEN 512u

/* The disk size is in the extra data; images older than that field have the guest's. */
static int read_disk_len(const struct qcow2 *q, struct qcow2_view *view, uint64_t extra_off,
			 uint32_t extra_len)
{
	uint8_t bytes[8];
	int rc;

	view->guest_len = MIN(q->layer.guest_len, view->n_l1 * qcow2_l2_span(q));
	if (extra_len < 16) {
		q->snapshots->has_no_len = true;
		return 0;
	}
	rc = file_read(q->layer.file, bytes, sizeof(bytes), extra_off + 8);
	if (rc)
		return rc;
	view->guest_len = be64(bytes);
	if (view->guest_len > INT64_MAX - GiB ||
	    div_round_up(view->guest_len, qcow2_l2_span(q)) > view->n_l1)
		return -EUCLEAN;
	return 0;
}

static uint64_t end_of_file(const struct qcow2 *q)
{
	return round_up(q->layer.file->len, q->layer.cluster_len);
}

static int read_l1(const struct qcow2 *q, const struct qcow2_view *view, uint64_t end, uint8_t *l1)
{
	uint64_t len = view->n_l1 * UINT64_C(8);
	int rc = len ? file_read_padded(q->layer.file, l1, len, view->l1_off) : 0;

	for (uint32_t i = 0; !rc && i < view->n_l1; i++) {
		uint64_t off = be64(l1 + 8 * i) & QCOW2_OFF_MASK;

		if (!is_aligned(off, q->layer.cluster_len) || off >= end)
			rc = -EUCLEAN;
	}
	return rc;
}

/* Reads an L1 table for the first time, when nothing has checked where it lies. */
static int load_l1(const struct qcow2 *q, const struct qcow2_view *view)
{
	uint64_t len = view->n_l1 * UINT64_C(8);

	if (len && !qcow2_holds_table(q, view->l1_off, len))
		return -EUCLEAN;
	return read_l1(q, view, end_of_file(q), view->l1);
}

/* One entry of the snapshot table at *at, which moves behind it. */
static int load_snapshot(struct qcow2 *q, struct qcow2_view *view, uint64_t *at, uint64_t *l1_len)
{
	uint8_t head[QCOW2_SNAPSHOT_LEN];
	uint32_t extra_len;
	int rc = file_read(q->layer.file, head, sizeof(head), *at);

	if (rc)
		return rc;
	view->l1_off = be64(head);
	view->n_l1 = be32(head + 8);
	*l1_len += view->n_l1 * UINT64_C(8);
	if (*l1_len > MAX_L1_LEN)
		return -E2BIG;
	if (*l1_len > round_up(q->layer.file->len, q->layer.cluster_len))
		return -EUCLEAN;
	extra_len = be32(head + 36);
	rc = read_disk_len(q, view, *at + QCOW2_SNAPSHOT_LEN, extra_len);
	if (rc)
		return rc;
	*at += round_up(
		QCOW2_SNAPSHOT_LEN + (uint64_t)extra_len + be16(head + 12) + be16(head + 14), 8);
	view->l1 = malloc(view->n_l1 * UINT64_C(8) + 1);
	return view->l1 ? load_l1(q, view) : -ENOMEM;
}

static int load_snapshots(struct qcow2 *q, const char *name, struct err *err)
{
	struct qcow2_snapshots *s = q->snapshots;
	uint64_t at = q->hdr.snapshots_off, l1_len = 0;

	for (uint32_t i = 0; i < q->hdr.n_snapshots; i++) {
		int rc = load_snapshot(q, &s->snapshots[i], &at, &l1_len);

		s->n_snapshots = i + 1;
		if (rc == -EUCLEAN)
			return err_set(err, -EUCLEAN,
				       "%s: internal snapshot %u: its entry or its L1 table is "
				       "damaged; see blockpull check; nothing was changed",
				       name, i);
		if (rc == -E2BIG)
			return err_set(err, -ENOTSUP,
				       "%s: the L1 tables of its internal snapshots take more than "
				       "%u MiB; delete some (qemu-img snapshot -d); nothing was "
				       "changed",
				       name, (unsigned)(MAX_L1_LEN / MiB));
		if (rc)
			return err_errno(err, rc, "%s: cannot read internal snapshot %u", name, i);
	}
	return 0;
}

/* An L2 table may stand at one L1 index only, in any number of L1 tables: an entry that is made for
 * one guest offset must not show at another. */
struct place {
	uint64_t l2_off;
	uint32_t l1_idx;
};

static int by_offset(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->l2_off < y->l2_off ? -1 : x->l2_off > y->l2_off;
}

static size_t note_places(struct place *places, size_t n, const uint8_t *l1, uint32_t n_l1)
{
	for (uint32_t i = 0; i < n_l1; i++) {
		uint64_t off = be64(l1 + 8 * i) & QCOW2_OFF_MASK;

		if (off)
			places[n++] = (struct place){ off, i };
	}
	return n;
}

static int check_places(struct qcow2 *q, const char *name, struct err *err)
{
	struct qcow2_snapshots *s = q->snapshots;
	autofree uint8_t *active = malloc(q->hdr.l1_size * UINT64_C(8) + 1);
	autofree struct place *places = NULL;
	uint64_t n_max = q->hdr.l1_size;
	size_t n;
	int rc;

	for (uint32_t i = 0; i < s->n_snapshots; i++)
		n_max += s->snapshots[i].n_l1;
	places = malloc((n_max + 1) * sizeof(*places));
	if (!active || !places)
		return err_set(err, -ENOMEM, "%s: out of memory", name);
	rc = file_read_padded(q->layer.file, active, q->hdr.l1_size * UINT64_C(8), q->hdr.l1_off);
	if (rc)
		return err_errno(err, rc, "%s: cannot read the L1 table at offset %#" PRIx64, name,
				 q->hdr.l1_off);
	n = note_places(places, 0, active, q->hdr.l1_size);
	for (uint32_t i = 0; i < s->n_snapshots; i++)
		n = note_places(places, n, s->snapshots[i].l1, s->snapshots[i].n_l1);
	qsort(places, n, sizeof(*places), by_offset);
	for (size_t i = 1; i < n; i++)
		if (places[i].l2_off == places[i - 1].l2_off &&
		    places[i].l1_idx != places[i - 1].l1_idx)
			return err_set(err, -EUCLEAN,
				       "%s: damaged qcow2 image: the L2 table at offset %#" PRIx64
				       " is in L1 entries %u and %u; nothing was changed",
				       name, places[i].l2_off, places[i - 1].l1_idx,
				       places[i].l1_idx);
	return 0;
}

/* Bytes of all slices that publishing one run needs in the cache at once. */
static uint64_t slices_len(const struct qcow2 *q)
{
	uint64_t run_len = MAX(MAX_RUN_LEN, PUBLISH_MAX_GRANULES * (uint64_t)q->layer.granule_len);
	uint64_t n_slices = run_len / qcow2_l2_slice_span(q) + 2; /* it may begin anywhere */

	return (UINT64_C(1) + q->hdr.n_snapshots) * n_slices * q->l2_slice_len;
}

/* Chooses how long slices are: those of one run must fit into the cache together, so with many
 * snapshots they are shorter. */
static int choose_slices(struct qcow2 *q, const char *name, struct err *err)
{
	uint64_t room = q->layer.cache ? table_cache_budget(q->layer.cache) / 2 : UINT64_MAX;

	while (q->l2_slice_len > MIN_SLICE_LEN && slices_len(q) > room)
		q->l2_slice_len /= 2;
	if (slices_len(q) > room)
		return err_set(err, -ENOTSUP,
			       "%s: it has %u internal snapshots, more than can be pulled; delete "
			       "some (qemu-img snapshot -d); nothing was changed",
			       name, q->hdr.n_snapshots);
	table_cache_drop_clean(q->layer.cache, q->layer.file);
	return 0;
}

int qcow2_snapshots_load(struct qcow2 *q, const char *name, struct err *err)
{
	struct qcow2_snapshots *s;
	uint64_t n = UINT64_C(1) + q->hdr.n_snapshots;
	int rc;

	qcow2_snapshots_free(q);
	q->l2_slice_len = MIN(q->layer.cluster_len, QCOW2_L2_SLICE_LEN);
	qcow2_forget_all_empty(q);
	q->layer.backed_len = q->layer.guest_len;
	if (!q->hdr.n_snapshots && q->l2_entry_len == 8)
		return 0;
	s = q->snapshots = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, -ENOMEM, "%s: out of memory", name);
	q->layer.has_copies = true;
	s->tables_l1_idx = UINT64_MAX;
	s->snapshots = calloc(n, sizeof(*s->snapshots));
	s->tables = calloc(n, sizeof(*s->tables));
	s->copy_host_off = calloc(n, sizeof(*s->copy_host_off));
	s->copy_weight = calloc(n, sizeof(*s->copy_weight));
	if (!s->snapshots || !s->tables || !s->copy_host_off || !s->copy_weight)
		return err_set(err, -ENOMEM, "%s: out of memory", name);
	rc = choose_slices(q, name, err);
	if (!rc)
		rc = load_snapshots(q, name, err);
	if (!rc)
		rc = check_places(q, name, err);
	for (uint32_t i = 0; !rc && i < s->n_snapshots; i++)
		q->layer.backed_len = MAX(q->layer.backed_len, s->snapshots[i].guest_len);
	return rc;
}

void qcow2_snapshots_free(struct qcow2 *q)
{
	struct qcow2_snapshots *s = q->snapshots;

	if (!s)
		return;
	for (uint32_t i = 0; i < s->n_snapshots; i++)
		free(s->snapshots[i].l1);
	free(s->snapshots);
	free(s->tables);
	free(s->copy_host_off);
	free(s->copy_weight);
	free(s);
	q->snapshots = NULL;
}

void qcow2_snapshots_note_departed(struct qcow2 *q)
{
	if (!q->snapshots)
		return;
	q->snapshots->tables_l1_idx = UINT64_MAX;
	q->snapshots->has_departed = true;
}

/* One snapshot's L1 table, to be read again. */
struct reread_l1 {
	bool is_wanted;
	uint64_t n_changes; /* the view's, when it began */
	uint8_t *l1;
};

struct reread {
	uint64_t file_end; /* the file may become longer meanwhile */
	uint32_t n;
	struct reread_l1 list[];
};

static void reread_free(struct reread *r)
{
	for (uint32_t i = 0; r && i < r->n; i++)
		free(r->list[i].l1);
	free(r);
}

/* Tables with changes since the last commit began (by copies that follow a guest's reads), or that
 * the commit under way writes, are not wanted: the disk has older ones. */
int qcow2_snapshots_reread_begin(struct layer *layer, bool commit_runs, void **state)
{
	const struct qcow2 *q = qcow2_of(layer);
	const struct qcow2_snapshots *s = q->snapshots;
	struct reread *r;

	*state = NULL;
	if (!s)
		return 0;
	r = calloc(1, sizeof(*r) + s->n_snapshots * sizeof(r->list[0]));
	if (!r)
		return -ENOMEM;
	r->n = s->n_snapshots;
	r->file_end = end_of_file(q);
	for (uint32_t i = 0; i < r->n; i++) {
		const struct qcow2_view *view = &s->snapshots[i];

		r->list[i].n_changes = view->n_changes;
		r->list[i].is_wanted =
			view->dirty_lo == view->dirty_hi && !(commit_runs && view->is_staged);
	}
	*state = r;
	return 0;
}

/* Runs beside operations and commits, and so reads of the views only what never changes. */
int qcow2_snapshots_reread(struct layer *layer, void *state, struct err *err)
{
	const struct qcow2 *q = qcow2_of(layer);
	struct reread *r = state;
	struct shown shown;
	int rc = 0;

	for (uint32_t i = 0; r && !rc && i < r->n; i++) {
		const struct qcow2_view *view = &q->snapshots->snapshots[i];

		if (!r->list[i].is_wanted)
			continue;
		r->list[i].l1 = malloc(view->n_l1 * UINT64_C(8) + 1);
		rc = r->list[i].l1 ? read_l1(q, view, r->file_end, r->list[i].l1) : -ENOMEM;
	}
	return rc ? err_errno(err, rc, "%s: cannot read the L1 tables of its snapshots again",
			      file_show(layer->file, &shown))
		  : 0;
}

/* A table that was changed meanwhile is newer than what was read, even if a commit has written
 * it. */
void qcow2_snapshots_reread_end(struct layer *layer, void *state, bool take)
{
	struct qcow2_snapshots *s = qcow2_of(layer)->snapshots;
	struct reread *r = state;

	for (uint32_t i = 0; r && take && i < r->n; i++) {
		struct qcow2_view *view = &s->snapshots[i];
		uint8_t *old = view->l1;

		if (!r->list[i].l1 || view->n_changes != r->list[i].n_changes)
			continue;
		view->l1 = r->list[i].l1;
		r->list[i].l1 = old;
		s->tables_l1_idx = UINT64_MAX;
	}
	reread_free(r);
}

/* Whole sectors around the changed entries. I2: STAGE_ROOT, like the active table's. */
int qcow2_snapshots_stage(struct qcow2 *q, struct staged *staged)
{
	struct qcow2_snapshots *s = q->snapshots;
	int rc = 0;

	for (uint32_t i = 0; s && !rc && i < s->n_snapshots; i++) {
		struct qcow2_view *view = &s->snapshots[i];
		uint64_t lo = round_down(view->dirty_lo * UINT64_C(8), TABLE_SECTOR_LEN);
		uint64_t hi = MIN(round_up(view->dirty_hi * UINT64_C(8), TABLE_SECTOR_LEN),
				  view->n_l1 * UINT64_C(8));

		view->is_staged = view->dirty_lo != view->dirty_hi;
		if (!view->is_staged)
			continue;
		rc = staged_add(staged, STAGE_ROOT, q->layer.file, view->l1_off + lo, view->l1 + lo,
				hi - lo);
		view->dirty_lo = view->dirty_hi = 0;
	}
	if (s)
		s->has_departed = false;
	return rc;
}
