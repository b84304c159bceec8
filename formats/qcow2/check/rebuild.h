/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rebuilding the refcounts of an image whose own can't be trusted. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_REBUILD_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_REBUILD_H

#include <stddef.h>
#include <stdint.h>

struct qcow2;
struct qcow2_space;

/* Counts all references and writes new refcount blocks and a new refcount table of them, at or
 * behind end_off and the file's end; then switches the header to them. Durable. -EUCLEAN: not even
 * the references can be trusted; -ERANGE: refcounts are too narrow; -EFBIG, -ENOSPC: no room:
 * nothing was changed, and `why` says so. */
int qcow2_rebuild_refcounts(struct qcow2 *q, uint64_t end_off, uint64_t window_clusters, char *why,
			    size_t why_cap);

/* What qcow2_rebuild_refcounts() would do, of the same errors but -ENOSPC, without a write. */
int qcow2_plan_rebuild(struct qcow2 *q, uint64_t end_off, uint64_t window_clusters,
		       struct qcow2_space *space, char *why, size_t why_cap);

#endif
