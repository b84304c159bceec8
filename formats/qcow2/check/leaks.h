/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Giving leaked clusters back. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_LEAKS_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_LEAKS_H

#include <stdint.h>

struct qcow2;

/* Lowers every refcount that is larger than the references there are, and gives the space of
 * clusters that are free now back to the file system. Durable when it returns; COPIED flags may be
 * stale then. The check has found no error but those. */
int qcow2_lower_refcounts(struct qcow2 *q, uint64_t window_clusters);

/* Makes the COPIED flags of active tables what the refcounts, which are right, say. Durable. */
int qcow2_mend_copied(struct qcow2 *q, uint64_t window_clusters);

#endif
