/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Repair of a qcow2 image: which of its three parts are needed, in the order
 * that any cut survives.
 *
 *   refcounts too low, or worse   new ones, behind a switch (rebuild.c)
 *   refcounts too high            lowered in place
 *   then COPIED flags             set or cleared to agree with them
 *   then the dirty, corrupt bits  cleared, once a check finds nothing
 *
 * with a barrier between any two. Reading never looks at a refcount, so no cut
 * changes what the guest sees; what is left is repaired by the same again.
 *
 * What refers to what is never changed: an entry that points outside the file
 * is a lost cluster that its owner may yet find, and zeroing it, as others do,
 * loses it for good. Where the references themselves contradict each other
 * nothing is done at all.
 */
#include "formats/qcow2/check/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/leaks.h"
#include "formats/qcow2/check/rebuild.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/header.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"

#define CUT                                                                                  \
	"the file ends inside a table, and clusters that nothing refers to any more may be " \
	"what the lost entries led to"

static bool is_sound(const struct check_result *found)
{
	return !found->n_errors && !found->n_leaks && !found->n_check_errors;
}

static int write_error(struct layer *layer, int rc, struct err *err)
{
	struct shown shown;

	return err_errno(err, rc,
			 "%s: repairing its refcounts failed; nothing is lost, and the next try "
			 "goes on from here",
			 file_show(layer->file, &shown));
}

/* The machine failed, not the image: a later try may succeed. */
static bool is_transient(int rc)
{
	return rc == -EIO || rc == -ENOMEM || err_is_no_space(rc);
}

/* Refcounts and flags, as repair->found asks for it; what is not done is said in repair->why. */
static int mend(struct qcow2 *q, struct repair *repair, uint64_t window_clusters)
{
	const struct check_result *found = &repair->found;
	uint64_t n_worse = found->n_errors - found->n_stale;
	int rc = 0;

	if (n_worse && !repair->all) {
		snprintf(repair->why, sizeof(repair->why),
			 "the image is corrupt: which clusters are leaked can't be told before "
			 "that is repaired");
		return 0;
	}
	if (!n_worse)
		rc = qcow2_clear_unknown_autoclear(q, QCOW2_REPAIR_KEEPS);
	if (rc)
		return rc;
	if (n_worse)
		rc = qcow2_rebuild_refcounts(q, found->image_end_off, window_clusters, repair->why,
					     sizeof(repair->why));
	else if (found->n_leaks)
		rc = qcow2_lower_refcounts(q, window_clusters);
	else if (!found->n_stale)
		return 0;
	if (repair->why[0]) /* and nothing was changed */
		return is_transient(rc) ? rc : 0;
	return rc ? rc : qcow2_mend_copied(q, window_clusters);
}

int qcow2_repair_windowed(struct layer *layer, struct repair *repair, struct err *err,
			  uint64_t window_clusters)
{
	struct qcow2 *q = qcow2_of(layer);
	uint64_t marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
	int rc = qcow2_check_windowed(layer, &repair->found, err, window_clusters);

	if (rc)
		return rc;
	if (repair->found.n_check_errors) {
		snprintf(repair->why, sizeof(repair->why), "it could not be checked as a whole: %s",
			 repair->found.incomplete);
		repair->left = repair->found;
		return 0;
	}
	if (repair->found.n_cut) {
		snprintf(repair->why, sizeof(repair->why), "%s: restore it from a copy", CUT);
		repair->left = repair->found;
		return 0;
	}
	rc = mend(q, repair, window_clusters);
	table_cache_drop_clean(layer->cache, layer->file);
	if (rc)
		return write_error(layer, rc, err);
	rc = qcow2_check_windowed(layer, &repair->left, err, window_clusters);
	if (!rc && repair->all && is_sound(&repair->left)) {
		repair->was_marked = q->hdr.incompat & marks;
		rc = qcow2_clear_incompat(q, marks);
		if (rc)
			return write_error(layer, rc, err);
	}
	return rc;
}

int qcow2_repair(struct layer *layer, struct repair *repair, struct err *err)
{
	return qcow2_repair_windowed(layer, repair, err, CHECK_WINDOW_CLUSTERS);
}

/* ---- before the first write of a job ---- */

static int refuse_repair(const char *name, const struct check_result *found, const char *first,
			 struct err *err)
{
	if (found->n_check_errors)
		return err_set(err, -EIO, "%s: its tables can't be read: %s; nothing was changed",
			       name, found->incomplete);
	return err_set(err, -EUCLEAN,
		       "%s: damaged image (%" PRIu64
		       " errors%s%s); nothing was changed: see blockpull check, and repair a copy",
		       name, found->n_errors, first[0] ? ": " : "", first);
}

static const char *overlaps(const struct check_result *found, char *text, size_t cap)
{
	if (!found->n_overlaps)
		return "";
	snprintf(text, cap,
		 "a cluster that has one owner is used by another, too, at offset %#" PRIx64,
		 found->overlap_off);
	return text;
}

static void note(struct layer *layer, bool was_dirty, const struct repair *repair)
{
	char *at = layer->note, *end = at + sizeof(layer->note);

	if (was_dirty)
		at += snprintf(at, end - at,
			       "it was marked dirty (not closed after its last use); its refcounts "
			       "were checked%s",
			       repair->found.n_errors || repair->found.n_leaks ? " and repaired"
									       : "");
	else if (repair->found.n_leaks)
		snprintf(at, end - at, "%" PRIu64 " leaked clusters were found and reclaimed",
			 repair->found.n_leaks);
}

/* Checks the image, and refuses what no repair before a job is to touch. */
static int audit(struct layer *layer, const char *name, struct check_result *found, struct err *err)
{
	bool is_dirty = qcow2_of(layer)->hdr.incompat & QCOW2_INCOMPAT_DIRTY;
	char first[96];
	int rc;

	/* No other reads or writes this image: not before it may be written to. */
	blocking_begin();
	rc = qcow2_check(layer, found, err);
	blocking_end();
	if (rc)
		return rc;
	if (found->n_cut)
		return refuse_repair(name, found, CUT, err);
	/* Of a dirty image only the refcounts may be wrong; anything else refuses it, too. */
	if (found->n_check_errors || (found->n_errors > found->n_stale && !is_dirty))
		return refuse_repair(name, found, overlaps(found, first, sizeof(first)), err);
	/* Counting such a cluster anew would make the image consistent, and hide that one of its
	 * owners reads another's data. A user who wants that says check --repair=all. */
	if (found->n_overlaps)
		return refuse_repair(name, found, overlaps(found, first, sizeof(first)), err);
	if (found->n_crossed)
		return refuse_repair(name, found, "clusters that several entries share", err);
	return 0;
}

int qcow2_plan_repair(struct layer *layer, const char *name, struct qcow2_space *space,
		      struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	struct check_result found = { 0 };
	char why[sizeof(((struct repair *)0)->why)] = "";
	int rc = audit(layer, name, &found, err);

	*space = (struct qcow2_space){ 0 };
	if (rc)
		return rc;
	if (found.n_errors > found.n_stale) {
		rc = qcow2_plan_rebuild(q, found.image_end_off, CHECK_WINDOW_CLUSTERS, space, why,
					sizeof(why));
		if (rc && is_transient(rc))
			return err_errno(err, rc, "%s: cannot count its references", name);
		return rc ? refuse_repair(name, &found, why, err) : 0;
	}
	/* Leaks at the end are cut off, or not counted any more. */
	if (layer->file->is_block ||
	    (found.image_end_off > found.refs_end_off && found.n_leaks <= QCOW2_MAX_FREED)) {
		space->end_idx = found.refs_end_off >> q->cluster_bits;
		return 0;
	}
	space->end_idx = div_round_up(layer->file->len, layer->cluster_len);
	return 0;
}

int qcow2_make_sound(struct layer *layer, const char *name, struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	bool was_dirty = q->hdr.incompat & QCOW2_INCOMPAT_DIRTY;
	struct repair repair = { .all = was_dirty };
	int rc = audit(layer, name, &repair.found, err);

	layer->note[0] = 0;
	if (rc || (is_sound(&repair.found) && !was_dirty))
		return rc;
	/* What refuses the image later refuses it now, before anything is mended. */
	rc = qcow2_snapshots_load(q, name, err);
	qcow2_snapshots_free(q);
	if (rc)
		return rc;
	repair.found = (struct check_result){ 0 };
	rc = qcow2_repair(layer, &repair, err);
	if (rc)
		return rc;
	if (!is_sound(&repair.left))
		return refuse_repair(name, &repair.left, repair.why, err);
	note(layer, was_dirty, &repair);
	return 0;
}
