/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A longer disk, in the order that a cut survives: tables that are long enough; entries that
 * read zeros, where the new end would read something else; last the length in the header.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_RESIZE_H
#define BLOCKPULL_FORMATS_CORE_LAYER_RESIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct err;
struct staged;
struct table_need;

/* A table that is to be written at another place, with zeros behind what it is now. Host bytes;
 * to_len 0: none. */
struct table_move {
	uint64_t from_off, from_len;
	uint64_t to_off, to_len;
};

/* layer_ops.resize */
struct layer_resize_ops {
	/* Refuses what can't be made so long, with a sentence; writes nothing. */
	int (*may_grow)(const struct layer *layer, uint64_t guest_len, struct err *err);
	/* Counts space for tables that a disk of guest_len bytes needs, which nothing leads to yet.
	 * Nothing is dirty but refcounts, and nothing changes entries, until set_len(). Once: after
	 * 0 the move is to be made. 0, TABLE_NEED, or as reserve(). NULL: no table is moved. */
	int (*grow_tables)(struct layer *layer, uint64_t guest_len, struct table_move *move,
			   struct table_need *need);
	/* The disk has the length guest_len in memory from now on (the old one, where growing was
	 * given up). The move, if there was one, is written: the next stage() leads the header to
	 * the table, and leaves the length in the header as it is. */
	void (*set_len)(struct layer *layer, const struct table_move *move, uint64_t guest_len);
	/* All else is durable: the next stage() writes the length, STAGE_REFTABLE. NULL: the length
	 * is the file's. */
	void (*record_len)(struct layer *layer);
	/* Takes record_len() back: the header keeps the length guest_len, also in the write that is
	 * in *staged already (NULL: none is). NULL where record_len is. */
	void (*keep_len)(struct layer *layer, uint64_t guest_len, struct staged *staged);
	/* Adds the write of the length to a commit. NULL: layer_shared_ops.stage() does. */
	int (*stage)(struct layer *layer, struct staged *staged);
};

/* All as struct layer_resize_ops says; without that table no disk can grow (-ENOTSUP). */
int layer_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err);
int layer_grow_tables(struct layer *layer, uint64_t guest_len, struct table_move *move,
		      struct table_need *need);
void layer_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len);
/* True: there is something to commit. */
bool layer_record_len(struct layer *layer);
void layer_keep_len(struct layer *layer, uint64_t guest_len, struct staged *staged);
int layer_stage_len(struct layer *layer, struct staged *staged);

#endif
