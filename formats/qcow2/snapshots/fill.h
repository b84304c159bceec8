/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* New tables and entries for snapshots and subclusters. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_FILL_H
#define BLOCKPULL_FORMATS_QCOW2_SNAPSHOTS_FILL_H

#include <stddef.h>
#include <stdint.h>

struct layer;
struct mapping;
struct qcow2;
struct table_need;

/* layer_fill_ops.alloc_tables and .publish where q->snapshots is set. */
int qcow2_snapshots_alloc_tables(struct qcow2 *q, uint64_t guest_off, uint64_t len,
				 struct table_need *need);
int qcow2_snapshots_publish(struct qcow2 *q, const struct mapping *maps, size_t n_maps,
			    struct table_need *need);

/* layer_compress_ops.reserve_bytes */
int qcow2_reserve_bytes(struct layer *layer, uint64_t guest_off, uint32_t len, uint64_t *host_off,
			struct table_need *need);

#endif
