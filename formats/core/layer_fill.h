/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The overlay of a pull: what readers still take from below it, space for the
 * copies, and the entries that make them visible.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_FILL_H
#define BLOCKPULL_FORMATS_CORE_LAYER_FILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct err;
struct table_need;

/* A new entry for one range of the overlay, granule aligned (the guest's end rounded up). */
struct mapping {
	uint64_t guest_off;
	uint64_t len;
	uint64_t host_off; /* reserved space holding the data; unused for zeros */
	bool is_zero;
	bool keep_space;    /* is_zero, publish_write(): what the clusters have stays theirs */
	unsigned copy;      /* which of the range's destinations (layer_copy_target()) */
	bool for_snapshots; /* as that destination says; of no interest to publish() */
	/* One whole guest cluster, compressed: bytes of it at host_off, in whole sectors; else
	 * 0. */
	uint32_t comp_len;
};

/* Bytes of the file that hold the mapping's data. */
static inline uint64_t mapping_host_len(const struct mapping *map)
{
	return map->comp_len ? map->comp_len : map->len;
}

/* Where a copied range goes (layer_copy_target()). */
struct destination {
	bool has_space; /* in a cluster that has its space already; else reserve whole clusters */
	uint64_t host_off;  /* has_space: the byte for the range's beginning; it may be 0 */
	uint64_t len;       /* guest bytes for which this holds */
	bool for_snapshots; /* the guest's disk has something else there */
};

#define PUBLISH_MAX_GRANULES 512u

/* layer_ops.fill */
struct layer_fill_ops {
	/* Blocking, once, before the first write: audits all tables (what can't be proven sound is
	 * refused untouched, -EUCLEAN), loads what allocation needs, finds the end of the space in
	 * use, clears unknown autoclear bits and the like (flushed). */
	int (*begin_writing)(struct layer *layer, struct err *err);
	/* What the overlay's readers still read from below: as map(), but UNALLOCATED where any of
	 * them (the guest, an internal snapshot) has no entry of its own, up to backed_len. */
	int (*map_backed)(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
			  struct table_need *need);
	/* Gives the tables that will map [guest_off, guest_off + len) their space, so that it lies
	 * before the data's, and a full disk finds out before data is written. Empty tables change
	 * nothing a reader could see. 0, TABLE_NEED, or as reserve(). */
	int (*alloc_tables)(struct layer *layer, uint64_t guest_off, uint64_t len,
			    struct table_need *need);
	/* Where copy number `copy` of [guest_off, guest_off + len) has to go. The overlay lacks all
	 * of the range, and alloc_tables() was called for it. -ENOENT: the range needs no more than
	 * `copy` copies. One copy serves all readers where refcounts allow. 0, TABLE_NEED or
	 * -errno. */
	int (*copy_target)(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
			   struct destination *out, struct table_need *need);
	/* Reserves up to len bytes (a multiple of cluster_len) of contiguous host space, which no
	 * table refers to. *got may be less, not 0. The space is accounted only by publish(). 0,
	 * -ENOSPC where the file cannot grow, -EFBIG, -ENOMEM; -EAGAIN: try again when the commit
	 * in flight is over. */
	int (*reserve)(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
	/* Gives space back that was reserved and not published. */
	void (*release)(struct layer *layer, uint64_t host_off, uint64_t len);
	/* Makes the mappings visible in memory and marks what must be written, by stage; the data
	 * is already written. They cover at most 1 MiB or PUBLISH_MAX_GRANULES of the guest's disk,
	 * all of it unallocated still. Changes nothing that a reader could see before it returns 0.
	 * 0, TABLE_NEED or -errno. */
	int (*publish)(struct layer *layer, const struct mapping *maps, size_t n_maps,
		       struct table_need *need);
	/* There may be something for reclaim() to do. NULL where that is NULL. */
	bool (*may_leak)(const struct layer *layer);
	/* Blocking, on any thread: takes clusters out of the file to which nothing refers, in a
	 * format that can't keep track of them. Nothing of the layer is dirty, in flight or being
	 * read, and no other thread looks at it meanwhile. Its cached tables are out of date
	 * afterwards, after an error too: the caller drops them. 0, and in *n_left how many
	 * clusters stay leaked for lack of space; -errno: a write or barrier failed, as in a
	 * commit. NULL: the format keeps track of all space. */
	int (*reclaim)(struct layer *layer, uint64_t *n_left, struct err *err);
};

/* All as struct layer_fill_ops says. begin_writing: 0 also where there is no such table, since then
 * nothing is to be prepared. */
int layer_begin_writing(struct layer *layer, struct err *err);
int layer_map_backed(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		     struct table_need *need);
int layer_alloc_tables(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct table_need *need);
int layer_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		      struct destination *out, struct table_need *need);
int layer_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
void layer_release(struct layer *layer, uint64_t host_off, uint64_t len);
int layer_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		  struct table_need *need);
bool layer_may_leak(const struct layer *layer);
/* 0 and *n_left 0 where the format keeps track of all space. */
int layer_reclaim(struct layer *layer, uint64_t *n_left, struct err *err);

#endif
