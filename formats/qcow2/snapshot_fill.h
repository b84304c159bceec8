/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copying for snapshots and subclusters. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SNAPSHOT_FILL_H
#define BLOCKPULL_FORMATS_QCOW2_SNAPSHOT_FILL_H

#include <stddef.h>
#include <stdint.h>

struct destination;
struct layer;
struct mapping;
struct qcow2;
struct table_need;

/* The same layer ops where q->snapshots is set. */
int qcow2_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		      struct destination *out, struct table_need *need);
/* How many references a copy of guest_off's cluster will have. 0, TABLE_NEED or -errno. */
int qcow2_copy_weight(struct qcow2 *q, uint64_t guest_off, unsigned copy, uint64_t *weight,
		      struct table_need *need);
int qcow2_snapshots_alloc_tables(struct qcow2 *q, uint64_t guest_off, uint64_t len,
				 struct table_need *need);
int qcow2_snapshots_publish(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
			    struct table_need *need);

int qcow2_reserve_bytes(struct layer *layer, uint64_t guest_off, uint32_t len, uint64_t *host_off,
			struct table_need *need);

#endif
