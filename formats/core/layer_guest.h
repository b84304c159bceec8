/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's writes: what one meets, where its data goes, and the entries for
 * it.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_GUEST_H
#define BLOCKPULL_FORMATS_CORE_LAYER_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct destination;
struct mapping;
struct table_need;

/* What a guest write to a range meets (layer_map_write()). */
enum write_kind {
	WRITE_IN_PLACE, /* space of the guest's disk alone, holding its data: host_off */
	WRITE_NEW,      /* what the range is to hold must be written to write_target() and then
			 * published: whole units */
	WRITE_SHARED,   /* tables that others read too lie on the way: unshare() first */
};

struct write_extent {
	enum write_kind kind;
	uint64_t guest_off;
	uint64_t len;        /* guest bytes, > 0. NEW: what is said here holds for all units that
			      * [guest_off, guest_off + len) touches. SHARED: of no meaning */
	uint64_t host_off;   /* IN_PLACE: byte in layer->data, of guest_off */
	uint32_t unit_len;   /* NEW: guest bytes that get new space together: a granule, or a
			      * cluster where all of it must move */
	bool reads_zero;     /* NEW: all of it reads zeros, from an entry of the overlay's own */
	bool is_unallocated; /* NEW: the overlay holds nothing of it: what reads it asks below */
	uint64_t lock_off, lock_len; /* SHARED: the guest bytes whose operations must stand still
				      * while unshare() runs, whole clusters */
};

/* layer_ops.guest_write */
struct layer_guest_ops {
	/* What a write to guest_off meets, for at most len bytes (inside guest_len); unaligned ends
	 * allowed. 0, TABLE_NEED or -errno. */
	int (*map_write)(struct layer *layer, uint64_t guest_off, uint64_t len,
			 struct write_extent *out, struct table_need *need);
	/* Where units of one NEW extent go: alloc_tables() was called for them. As copy_target(),
	 * for the one copy that is the guest's; with has_space no other entry leads to the space,
	 * and it may hold any bytes. 0, TABLE_NEED or -errno. NULL: map_write() always says
	 * IN_PLACE. */
	int (*write_target)(struct layer *layer, uint64_t guest_off, uint64_t len,
			    struct destination *out, struct table_need *need);
	/* As publish(), on the guest's disk alone, replacing whatever the ranges hold there: whole
	 * units, or, is_zero, whole granules, all NEW or IN_PLACE (none SHARED). Data or zeros of a
	 * cluster that is compressed, or shared with a snapshot, must come as the whole cluster.
	 * -ENOTSUP: is_zero where !has_zero_entries. Space that falls free stays as it is until
	 * free_unreferenced() and reuse_freed(). NULL: as write_target. */
	int (*publish_write)(struct layer *layer, const struct mapping *maps, size_t n_maps,
			     struct table_need *need);
};

/* All as struct layer_guest_ops says. */
int layer_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		    struct table_need *need);
int layer_write_target(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct destination *out, struct table_need *need);
int layer_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
			struct table_need *need);

#endif
