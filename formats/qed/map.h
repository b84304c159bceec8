/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Tables: lookup, and new entries. */
#ifndef BLOCKPULL_FORMATS_QED_MAP_H
#define BLOCKPULL_FORMATS_QED_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent;
struct layer;
struct mapping;
struct table_need;

/* layer_fill_ops.map_backed and layer_ops.map */
int qed_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
	    struct table_need *need);
/* layer_fill_ops.alloc_tables */
int qed_alloc_tables(struct layer *layer, uint64_t guest_off, uint64_t len,
		     struct table_need *need);
/* layer_fill_ops.publish */
int qed_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		struct table_need *need);
/* As qed_publish(), also where entries say that the clusters read zeros. */
int qed_publish_over_zeros(struct layer *layer, const struct mapping *maps, size_t n_maps,
			   struct table_need *need);
/* layer_tables_ops.table_place */
int qed_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		    uint64_t *end_off, struct table_need *need);
/* layer_tables_ops.table_at and .has_table */
int qed_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		  struct table_need *need);

#endif
