/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Lookup over the disks of one file. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_MAP_H
#define BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_MAP_H

#include <stdint.h>

struct extent;
struct layer;
struct qcow2;
struct qcow2_entry;
struct qcow2_view_table;
struct table_need;

/* Puts the L2 tables at this L1 index into snapshots->tables. 0, TABLE_NEED or -errno. */
int qcow2_snapshots_find_tables(struct qcow2 *q, uint64_t l1_idx, struct table_need *need);
/* The next end of a disk behind guest_off, or `end`: up to there the same disks reach. */
uint64_t qcow2_snapshots_boundary(const struct qcow2 *q, uint64_t guest_off, uint64_t end);
/* Reads the entry for the granule at guest_off in one of snapshots->tables. 0, TABLE_NEED or
 * -errno. */
int qcow2_view_entry(struct qcow2 *q, const struct qcow2_view_table *table, uint64_t guest_off,
		     struct qcow2_entry *entry, struct table_need *need);
/* layer_fill_ops.map_backed */
int qcow2_map_backed(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		     struct table_need *need);

#endif
