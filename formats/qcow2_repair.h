/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The parts of qcow2's repair: qcow2_repair.c decides and keeps the order,
 * qcow2_repair_leaks.c lowers refcounts in place, qcow2_rebuild.c writes new
 * ones behind the image and switches to them.
 */
#ifndef BLOCKPULL_QCOW2_REPAIR_H
#define BLOCKPULL_QCOW2_REPAIR_H

#include "formats/qcow2_repair.h"
#include "formats/qcow2_check.h"

/* Autoclear bits that stay true when refcounts are repaired. */
#define QCOW2_REPAIR_KEEPS (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW_DATA)

/* Leaked clusters in so many ranges are told apart when leaks are taken out; behind that many a file
 * may keep its length. */
#define QCOW2_MAX_FREED 4096u

/* All block, run on an image whose tables are not cached dirty, and return 0 or -errno. */

/* Lowers every refcount that is larger than the references there are, and gives the space of
 * clusters that are free now back to the file system. Durable when it returns; COPIED flags may be
 * stale then. The check has found no error but those. */
int qcow2_lower_refcounts(struct qcow2 *q, uint64_t window_clusters);

/* Makes the COPIED flags of active tables what the refcounts, which are right, say. Durable. */
int qcow2_mend_copied(struct qcow2 *q, uint64_t window_clusters);

/* Counts all references and writes new refcount blocks and a new refcount table of them, at or
 * behind end_off and the file's end; then switches the header to them. Durable. -EUCLEAN: not even
 * the references can be trusted; -ERANGE: refcounts are too narrow; -EFBIG, -ENOSPC: no room:
 * nothing was changed, and `why` says so. */
int qcow2_rebuild_refcounts(struct qcow2 *q, uint64_t end_off, uint64_t window_clusters, char *why,
			    size_t why_cap);

/* What qcow2_rebuild_refcounts() would do, of the same errors but -ENOSPC, without a write. */
int qcow2_plan_rebuild(struct qcow2 *q, uint64_t end_off, uint64_t window_clusters,
		       struct qcow2_space *space, char *why, size_t why_cap);

/* The layer's repair, with windows of so many clusters. */
int qcow2_repair_windowed(struct layer *layer, struct repair *repair, struct err *err,
			  uint64_t window_clusters);

#endif
