/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: what is done about leaks, and what is said of it. Leaks are taken out
 * by compact.c: at the end of a job that gave space back in the middle of
 * the file, before the first write where the audit found some, and by repair.
 *
 * Finding them costs a walk of all tables, so the end of a job looks only if
 * it has reason to (may_leak); counting the gaps handed out again instead was
 * rejected, since their list is short and forgets.
 */
#include "formats/qed/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/table_cache.h"
#include "formats/qed/check.h"
#include "formats/qed/compact.h"
#include "formats/qed/disk.h"
#include "formats/qed/header.h"
#include "formats/qed/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

static int take_out_leaks(struct qed *q, uint64_t end_off, uint64_t *n_left, struct err *err)
{
	struct layer *layer = &q->layer;
	struct qed_compacted done;
	struct shown shown;
	int rc = qed_compact(q, end_off, &done);

	*n_left = 0;
	if (rc == -EFBIG) {
		*n_left = UINT64_MAX;
		return 0;
	}
	if (rc)
		return err_errno(err, rc,
				 "%s: moving clusters into unused space failed; nothing is lost, "
				 "and the next try goes on from here",
				 file_show(layer->file, &shown));
	q->gaps.n = 0;
	q->spare_l2_off = 0;
	layer->alloc_end = done.end_off;
	if (!layer->file->is_block)
		layer->zero_from = done.end_off;
	*n_left = done.n_left;
	q->may_leak = done.n_left;
	return 0;
}

int qed_reclaim_all(struct qed *q, uint64_t end_off, uint64_t *n_left, struct err *err)
{
	int rc = take_out_leaks(q, end_off, n_left, err);

	/* Cached copies may be of entries and tables as they were. */
	table_cache_drop_clean(q->layer.cache, q->layer.file);
	return rc;
}

bool qed_may_leak(const struct layer *layer)
{
	const struct qed *q = qed_of(layer);

	return q->may_leak || q->spare_l2_off;
}

int qed_reclaim(struct layer *layer, uint64_t *n_left, struct err *err)
{
	*n_left = 0;
	return qed_may_leak(layer) ? take_out_leaks(qed_of(layer), UINT64_MAX, n_left, err) : 0;
}

void qed_note(struct layer *layer, bool was_dirty, uint64_t n_leaks, uint64_t n_left)
{
	char *at = layer->note, *end = at + sizeof(layer->note);

	*at = 0;
	if (was_dirty)
		at += snprintf(at, end - at,
			       "it was marked as in need of a check, which found no error");
	if (!n_leaks)
		return;
	at += snprintf(at, end - at, "%s%" PRIu64 " leaked clusters were found",
		       was_dirty ? "; " : "", n_leaks);
	if (n_left)
		snprintf(at, end - at, ", and not all could be reclaimed");
	else
		snprintf(at, end - at, " and reclaimed");
}

/* Everything that can be done without changing what refers to what: an entry that points outside
 * the file is a lost cluster that its owner may yet find. */
int qed_repair(struct layer *layer, struct repair *repair, struct err *err)
{
	struct qed *q = qed_of(layer);
	uint64_t n_left = 0, features = q->features;
	int rc = qed_check(layer, &repair->found, err);

	if (rc)
		return rc;
	if (repair->found.n_errors || repair->found.n_check_errors) {
		snprintf(repair->why, sizeof(repair->why),
			 repair->found.n_errors
				 ? "QED records every reference once: none can be repaired from "
				   "another"
				 : "it could not be checked as a whole");
		repair->left = repair->found;
		return 0;
	}
	if (repair->all)
		features &= ~QED_F_NEED_CHECK;
	repair->was_marked = features != q->features;
	if (repair->found.n_leaks || repair->was_marked)
		rc = qed_rewrite_header(q, features, q->autoclear & QED_AUTOCLEAR_KNOWN, err);
	if (!rc && repair->found.n_leaks)
		rc = qed_reclaim_all(q, repair->found.image_end_off, &n_left, err);
	if (rc)
		return rc;
	if (n_left)
		snprintf(repair->why, sizeof(repair->why), "%s",
			 n_left == UINT64_MAX
				 ? "the file is too large to move its clusters together"
				 : "clusters can be moved into leaked ones only where the file "
				   "system has room for a copy, and never the L1 table");
	return qed_check(layer, &repair->left, err);
}
