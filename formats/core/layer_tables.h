/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The tables of an image that has some: whether one maps a guest offset, where
 * it lies, and how long the file will be when more of them are made.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_TABLES_H
#define BLOCKPULL_FORMATS_CORE_LAYER_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct err;
struct table_need;

/* layer_ops.tables */
struct layer_tables_ops {
	/* *has: the guest's disk has an L2 table of its own for guest_off. *end_off: the guest byte
	 * up to which that table maps (not capped at guest_len). 0, TABLE_NEED or -errno. */
	int (*table_at)(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
			struct table_need *need);
	/* Where the slice of a table lies that must be loaded to map guest_off (len 0: none), and
	 * up to which guest byte (not capped) it maps. 0, TABLE_NEED or -errno. */
	int (*table_place)(struct layer *layer, uint64_t guest_off, struct table_need *place,
			   uint64_t *end_off, struct table_need *need);
	/* Blocking, read-only: loads what map_backed() looks at beside the guest's own tables,
	 * where begin_writing has not; sets backed_len. Refuses as begin_writing() does. NULL:
	 * nothing is to be loaded. */
	int (*begin_measuring)(struct layer *layer, struct err *err);
	/* As table_at(), for measure(): *has says that no disk of the file needs a new table for
	 * guest_off. False where an image has snapshots, each of which may need one of its own. */
	int (*has_table)(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
			 struct table_need *need);
	/* The first host byte behind the image once n_data clusters of data and n_tables tables
	 * were reserved, with all that this entails: never too low, and not higher than the order
	 * of reservations can make it. Blocking, read-only, before begin_writing or without it.
	 * 0, -EFBIG, -EUCLEAN, -ENOMEM, I/O errors. */
	int (*measure)(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		       struct err *err);
};

static inline bool layer_has_tables(const struct layer *layer)
{
	return layer->ops->tables != NULL;
}

/* All as struct layer_tables_ops says. An answer that leads nowhere is -EUCLEAN. */
int layer_table_at(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		   struct table_need *need);
int layer_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
		      uint64_t *end_off, struct table_need *need);
int layer_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		    struct table_need *need);
/* 0 where there are no tables, too. */
int layer_begin_measuring(struct layer *layer, struct err *err);
int layer_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		  struct err *err);

#endif
