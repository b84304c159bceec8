/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Refcounts, in the cache. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SPACE_REFCOUNT_H
#define BLOCKPULL_FORMATS_QCOW2_SPACE_REFCOUNT_H

#include <stdint.h>

#include "io/base.h"

struct qcow2;
struct table_need;

/* Looks whether the refcount block slices of [host_off, host_off + len) are cached.
 * 0, TABLE_NEED or -errno. */
int qcow2_ref_need(struct qcow2 *q, uint64_t host_off, uint64_t len, struct table_need *need);
/* Raises the refcount of every cluster of the range from 0 to 1; qcow2_ref_need() said 0. */
void qcow2_ref_take(struct qcow2 *q, uint64_t host_off, uint64_t len);

/* Host offset of a refcount block; 0: there is none. */
uint64_t qcow2_block_off(const struct qcow2 *q, uint64_t block_idx);
/* Makes the cluster at host_off an empty refcount block, in memory. 0 or -ENOMEM. */
int qcow2_new_block(struct qcow2 *q, uint64_t host_off);
/* The refcount of one cluster: 0 where no block counts it. 0, TABLE_NEED or -errno. */
int qcow2_ref_get(struct qcow2 *q, uint64_t cluster_idx, uint64_t *value, struct table_need *need);
/* Sets the refcount of n clusters from cluster_idx on; their slices are cached. */
void qcow2_ref_set(struct qcow2 *q, uint64_t cluster_idx, uint64_t n, uint64_t value);
/* How many of `want` clusters fit behind alloc_end; 0: none, and qcow2_no_room() says why. */
uint64_t qcow2_room(const struct qcow2 *q, uint64_t want);
int qcow2_no_room(const struct qcow2 *q);

#endif
