/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The refcount table, and making it larger. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SPACE_REFTABLE_H
#define BLOCKPULL_FORMATS_QCOW2_SPACE_REFTABLE_H

#include "io/base.h"

struct err;
struct layer;
struct qcow2;
struct qcow2_growth;
struct table_need;

/* Sizes the table that replaces one which ends where alloc_end is. Pure. */
void qcow2_plan_growth(const struct qcow2 *q, struct qcow2_growth *g);
/* Reads and checks the table, once. `name` is the image's, escaped. */
int qcow2_reftable_read(struct qcow2 *q, const char *name, struct err *err);
/* alloc_end has reached a range the table has no entry for: makes it larger. -EAGAIN: the last
 * switch is not durable yet; come again after the commit. */
int qcow2_reftable_grow(struct qcow2 *q);
/* Gives the range block_idx, which has none, a block at host_off, in memory, and its entry in the
 * table. 0 or -ENOMEM. */
int qcow2_reftable_add(struct qcow2 *q, uint64_t block_idx, uint64_t host_off);
void qcow2_reftable_durable(struct layer *layer);
/* Tables that were replaced, durably, are counted free. 0 or TABLE_NEED. */
int qcow2_free_replaced(struct qcow2 *q, struct table_need *need);

#endif
