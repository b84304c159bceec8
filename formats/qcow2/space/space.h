/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Taking and giving back clusters. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SPACE_SPACE_H
#define BLOCKPULL_FORMATS_QCOW2_SPACE_SPACE_H

#include <stdint.h>

#include "io/base.h"

struct layer;
struct qcow2;
struct table_need;

/* Space for an L2 table, not counted yet, with its refcount slice in the cache. 0, TABLE_NEED (then
 * nothing was taken), or as reserve(). */
int qcow2_reserve_table(struct qcow2 *q, uint64_t *l2_off, struct table_need *need);
/* layer_fill_ops.reserve */
int qcow2_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
/* layer_fill_ops.release */
void qcow2_release(struct layer *layer, uint64_t host_off, uint64_t len);

#endif
