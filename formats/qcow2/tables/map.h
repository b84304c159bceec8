/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Guest offsets to extents. */
#ifndef BLOCKPULL_FORMATS_QCOW2_TABLES_MAP_H
#define BLOCKPULL_FORMATS_QCOW2_TABLES_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct extent;
struct layer;
struct table_need;

/* layer_ops.map */
int qcow2_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
	      struct table_need *need);

/* layer_tables_ops.table_place */
int qcow2_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		      uint64_t *end_off, struct table_need *need);
/* layer_tables_ops.table_at */
int qcow2_table_at(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		   struct table_need *need);
/* layer_tables_ops.has_table */
int qcow2_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		    struct table_need *need);

#endif
