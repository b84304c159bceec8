/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copies for snapshots and subclusters. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_COPIES_H
#define BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_COPIES_H

#include <stdint.h>

struct destination;
struct layer;
struct qcow2;
struct table_need;

/* The most references that one cluster or table may have. */
uint64_t qcow2_max_shared(const struct qcow2 *q);
/* Finds the copies that the granule at guest_off needs: fills snapshots->tables[].copy and the
 * copies' fields; q->snapshots is set. 0, TABLE_NEED or -errno. */
int qcow2_find_copies(struct qcow2 *q, uint64_t guest_off, struct table_need *need);
/* layer_fill_ops.copy_target */
int qcow2_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		      struct destination *out, struct table_need *need);
/* How many references a copy of guest_off's cluster will have. 0, TABLE_NEED or -errno. */
int qcow2_copy_weight(struct qcow2 *q, uint64_t guest_off, unsigned copy, uint64_t *weight,
		      struct table_need *need);

#endif
