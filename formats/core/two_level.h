/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What qcow2 and QED do alike with their two levels of tables: telling where a
 * table is, and publishing new entries. What an entry means stays with the
 * formats.
 */
#ifndef BLOCKPULL_FORMATS_CORE_TWO_LEVEL_H
#define BLOCKPULL_FORMATS_CORE_TWO_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct layer;
struct mapping;
struct table_need;

struct two_level_lookup {
	/* Host offset of the L2 table for guest_off; 0: there is none. 0, TABLE_NEED or -errno. */
	int (*l2_off)(struct layer *layer, uint64_t guest_off, uint64_t *l2_off,
		      struct table_need *need);
	/* Which slice of that table maps guest_off; len 0: it is known to hold no entry. */
	struct table_need (*slice)(const struct layer *layer, uint64_t l2_off, uint64_t guest_off);
	/* Guest bytes, powers of two: that one L2 table maps, and one slice of it. */
	uint64_t (*l2_span)(const struct layer *layer);
	uint64_t (*slice_span)(const struct layer *layer);
};

/* layer_tables_ops.table_at and .table_place */
int two_level_table_at(struct layer *layer, const struct two_level_lookup *lookup,
		       uint64_t guest_off, bool *has, uint64_t *end_off, struct table_need *need);
int two_level_table_place(struct layer *layer, const struct two_level_lookup *lookup,
			  uint64_t guest_off, struct table_need *place, uint64_t *end_off,
			  struct table_need *need);

struct two_level_change {
	/* Asks for all that set() will change, and checks that its entries may be replaced.
	 * Changes nothing. 0, TABLE_NEED or -errno. */
	int (*prepare)(struct layer *layer, const struct mapping *map, struct table_need *need);
	/* Gives [guest_off, guest_off + len) the L2 tables that it lacks, empty: no reader can
	 * tell. 0, TABLE_NEED or -errno. */
	int (*alloc_tables)(struct layer *layer, uint64_t guest_off, uint64_t len,
			    struct table_need *need);
	/* Changes the entries, behind a prepare() that returned 0: it cannot fail. */
	void (*set)(struct layer *layer, const struct mapping *map);
};

/* layer_fill_ops.publish: all of the mappings or none. 0, TABLE_NEED or -errno. */
int two_level_publish(struct layer *layer, const struct two_level_change *change,
		      const struct mapping *maps, size_t n_maps, struct table_need *need);

#endif
