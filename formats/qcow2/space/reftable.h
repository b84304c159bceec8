/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The refcount table, and making it larger. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SPACE_REFTABLE_H
#define BLOCKPULL_FORMATS_QCOW2_SPACE_REFTABLE_H

#include "io/base.h"

struct err;
struct layer;
struct qcow2;
struct table_need;

/* A refcount table that replaces one which is full. */
struct qcow2_growth {
	uint64_t first_idx; /* host cluster where the new blocks begin; the table follows them */
	uint64_t n_blocks;  /* refcount blocks for the ranges that blocks and table touch */
	uint64_t table_clusters;
};

/* Plans the table and the blocks that are needed where the one of today has no entry for alloc_end.
 * Pure. */
void qcow2_plan_growth(const struct qcow2 *q, struct qcow2_growth *g);
/* Reads and checks the table, once. `name` is the image's, escaped. */
int qcow2_reftable_read(struct qcow2 *q, const char *name, struct err *err);
/* alloc_end has reached a range the table has no entry for: makes it larger. -EAGAIN: the last
 * switch is not durable yet; come again after the commit. */
int qcow2_reftable_grow(struct qcow2 *q);
/* Gives the range block_idx, which has none, a block at host_off, in memory, and its entry in the
 * table. 0 or -ENOMEM. */
int qcow2_reftable_add(struct qcow2 *q, uint64_t block_idx, uint64_t host_off);
/* layer_shared_ops.reftable_durable */
void qcow2_reftable_durable(struct layer *layer);
/* Tables that were replaced, durably, are counted free. 0 or TABLE_NEED. */
int qcow2_free_replaced(struct qcow2 *q, struct table_need *need);

#endif
