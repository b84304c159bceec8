/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Cached slices of on-disk tables (L1, L2, refcount blocks) of every open
 * image, under one byte budget. A table longer than TABLE_MAX_LEN is cached in
 * slices of that length, so that 64 chained images with 2 MiB tables fit.
 *
 * Nothing here waits or performs I/O. table_get() answers TABLE_NEED and says
 * what is missing; the caller, which runs the I/O, loads it and calls again.
 * Changes are made by table_dirty.h.
 *
 * Pinning was rejected: LOADING, dirty and being-written tables stay by
 * themselves, and a walk that was just fed its table finds it as the most
 * recently used one.
 */
#ifndef BLOCKPULL_FORMATS_CORE_TABLE_CACHE_H
#define BLOCKPULL_FORMATS_CORE_TABLE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/staged.h"
#include "io/base.h"

struct file;
struct table_cache;

#define TABLE_MAX_LEN    32768u
#define TABLE_SECTOR_LEN 512u

/* A positive answer of map and publish functions: load *need, then ask again. */
#define TABLE_NEED 1

struct table_need {
	struct file *file;
	uint64_t host_off;
	uint32_t len; /* 8..TABLE_MAX_LEN, a multiple of 8 */
	/* Bytes of more tables of the same length, which lie behind this one and which a walk will
	 * want next. */
	uint32_t more_len;
};

enum table_state {
	TABLE_LOADING,
	TABLE_READY,
};

struct table {
	struct file *file;
	uint64_t host_off;
	uint32_t len;
	enum table_state state;
	enum stage stage; /* of its changes, once it is reachable */
	bool fresh;       /* new: nothing on disk reaches it before the commit that writes it */
	uint8_t *bytes;   /* len bytes as on disk (big or little endian) */
	uint64_t dirty_sectors; /* bit i: sector i changed since it was last staged */
	unsigned n_writing;     /* staged copies not written yet */
	void *waiters;          /* the engine's: operations waiting for the load */
	/* the cache's own */
	struct table_cache *cache;
	struct table *hash_next, *lru_prev, *lru_next;
};

/* budget in bytes; clean tables beyond it are evicted, least recently used first. */
struct table_cache *table_cache_new(size_t budget);
void table_cache_free(struct table_cache *cache);
/* Sets the budget, in bytes. Clean tables over it are evicted at the next insertion. */
void table_cache_set_budget(struct table_cache *cache, size_t budget);
size_t table_cache_budget(const struct table_cache *cache); /* bytes */

/* len as in struct table_need. 0 and *out; TABLE_NEED and *need (also while the table is loading).
 * -EUCLEAN: a table of another length is cached at this place, so two tables of the image lie on
 * each other. */
int table_get(struct table_cache *cache, struct file *file, uint64_t host_off, uint32_t len,
	      struct table **out, struct table_need *need);
/* The cached table whatever its state, or NULL. */
struct table *table_find(struct table_cache *cache, struct file *file, uint64_t host_off);

/* Begins a load: an entry in state LOADING with room for the bytes. NULL: out of memory. */
struct table *table_load_begin(struct table_cache *cache, const struct table_need *need);
/* The same for *need and for tables behind it, as far as more_len goes and none is cached: at most
 * max, into tables[]. Returns how many; 0: out of memory. */
unsigned table_load_begin_some(struct table_cache *cache, const struct table_need *need,
			       struct table **tables, unsigned max);
/* Ends one: READY, or, with an error, forgotten. */
void table_load_end(struct table_cache *cache, struct table *table, int error);
/* Loads with a blocking read, and what lies behind it, for open, check, map and tests. 0 or -errno;
 * -EALREADY where a load begun with table_load_begin() is under way: its reader must end it
 * first. */
int table_load_now(struct table_cache *cache, const struct table_need *need);

/* Drops all tables of a file, dirty ones too; none may be loading. */
void table_cache_forget(struct table_cache *cache, struct file *file);
/* Drops the clean ones, so that the next look reads the disk. */
void table_cache_drop_clean(struct table_cache *cache, struct file *file);

#endif
