/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Space with counted references: more disks than the guest's may read it, and
 * what the last of them lets go is used again. The counts are partly kept
 * outside the table cache.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_SHARED_H
#define BLOCKPULL_FORMATS_CORE_LAYER_SHARED_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct err;
struct staged;
struct table_need;

/* A table that becomes the guest's own, between the calls of unshare(). All zero: not begun. */
struct unshare {
	uint64_t new_off;  /* host offset of its space; 0: none yet */
	uint64_t done_len; /* bytes of it that are made */
};

/* layer_ops.shared */
struct layer_shared_ops {
	/* Gives the guest's disk tables of its own on the way to guest_off, where it has none or
	 * shares them; what all disks read stays the same. No operation is between alloc_tables()
	 * and publish() in lock_off, lock_len, from the first call to the last: *state is the
	 * caller's, and says how far it has come. 0, TABLE_NEED, or as reserve(). */
	int (*unshare)(struct layer *layer, uint64_t guest_off, struct unshare *state,
		       struct table_need *need);
	/* Everything that was staged before the last stage() (with_last: and by it) is durable:
	 * what it let go is counted free from now on (dirty again: the next commit writes it), but
	 * not used again yet. Never fails; what needs a table that is not cached waits for a later
	 * call, and *need names it: TABLE_NEED, else 0. */
	int (*free_unreferenced)(struct layer *layer, bool with_last, struct table_need *need);
	/* free_unreferenced() or take_freed() will have something to do, now or after more
	 * commits. */
	bool (*has_freed)(const struct layer *layer);
	/* Called some time after free_unreferenced(): operations that began before that call are
	 * over, so the space it counted free may be used again, behind discard_freed() and
	 * reuse_freed(). False: there is none. */
	bool (*take_freed)(struct layer *layer);
	/* Blocking, on any thread, beside operations: what was taken is given back to the file
	 * system. */
	void (*discard_freed)(struct layer *layer);
	/* What was taken may be reserved again from now on. */
	void (*reuse_freed)(struct layer *layer);
	/* Adds what is dirty outside the table cache (the refcount table) to a commit.
	 * 0 or -ENOMEM, changing nothing. */
	int (*stage)(struct layer *layer, struct staged *staged);
	/* Called when a commit's STAGE_REFTABLE writes are durable: what they replaced is free for
	 * the next free_unreferenced(). */
	void (*reftable_durable)(struct layer *layer);
	/* When all is committed: what is kept of the tables outside the cache is read again from
	 * disk, for the proof. First what to read: 0 and *state (NULL: nothing), or -ENOMEM. */
	int (*reread_begin)(struct layer *layer, bool commit_runs, void **state);
	/* Blocking, on any thread, beside operations and commits. 0 or -errno with a sentence. */
	int (*reread)(struct layer *layer, void *state, struct err *err);
	/* Takes over what was read (take), but for what has changed meanwhile. Frees the state. */
	void (*reread_end)(struct layer *layer, void *state, bool take);
};

/* Space that the guest's entries use may fall free. */
static inline bool layer_frees_space(const struct layer *layer)
{
	return layer->ops->shared != NULL;
}

/* A part of its tables is kept outside the table cache, for layer_reread() to read. */
static inline bool layer_keeps_tables(const struct layer *layer)
{
	return layer->ops->shared != NULL;
}

/* All as struct layer_shared_ops says. Where there is no such table, nothing is freed or staged,
 * and only has_freed(), stage() and reftable_durable() may be called. */
int layer_unshare(struct layer *layer, uint64_t guest_off, struct unshare *state,
		  struct table_need *need);
int layer_free_unreferenced(struct layer *layer, bool with_last, struct table_need *need);
bool layer_has_freed(const struct layer *layer);
bool layer_take_freed(struct layer *layer);
void layer_discard_freed(struct layer *layer);
void layer_reuse_freed(struct layer *layer);
int layer_stage(struct layer *layer, struct staged *staged);
void layer_reftable_durable(struct layer *layer);
int layer_reread_begin(struct layer *layer, bool commit_runs, void **state);
int layer_reread(struct layer *layer, void *state, struct err *err);
void layer_reread_end(struct layer *layer, void *state, bool take);

#endif
