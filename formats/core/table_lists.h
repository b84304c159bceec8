/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The insides of the table cache, for its own files only: a hash of (file, host
 * offset) and two lists. A table that may be dropped without loss lies on the
 * clean list, most recently used first; all others (loading, dirty, fresh,
 * being written) lie on the held list, where eviction never looks and staging
 * looks for nothing else. One list with a test for each table was rejected: a
 * batch of dirty tables at its end would be walked again for every table that
 * is loaded.
 */
#ifndef BLOCKPULL_FORMATS_CORE_TABLE_LISTS_H
#define BLOCKPULL_FORMATS_CORE_TABLE_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/table_cache.h"

/* An end of a ring of tables; only the links of the embedded table are used. */
struct table_list {
	struct table end;
};

struct table_cache {
	size_t budget; /* bytes */
	size_t used;   /* bytes, the structs included */
	unsigned n_clean;
	size_t clean_len;         /* of used, what the clean tables take */
	size_t loading_len;       /* of used, what those being read take */
	uint64_t n_dirty_sectors; /* of all tables */
	struct table_list clean, held;
	size_t n_buckets; /* a power of two */
	struct table *buckets[];
};

static inline void table_list_init(struct table_list *list)
{
	list->end.lru_prev = list->end.lru_next = &list->end;
}

static inline void table_list_push(struct table_list *list, struct table *table)
{
	table->lru_prev = &list->end;
	table->lru_next = list->end.lru_next;
	list->end.lru_next->lru_prev = table;
	list->end.lru_next = table;
}

static inline void table_list_remove(struct table *table)
{
	table->lru_prev->lru_next = table->lru_next;
	table->lru_next->lru_prev = table->lru_prev;
	table->lru_prev = table->lru_next = NULL;
}

/* The table can be evicted: the disk has the same bytes. A fresh table is never clean: nothing on
 * disk reaches it, and what lies at its place there may be stale. */
static inline bool table_is_clean(const struct table *table)
{
	return table->state == TABLE_READY && !table->dirty_sectors && !table->n_writing &&
	       !table->fresh;
}

/* Puts the table first in the list it belongs to now. was_clean: where it lies. */
static inline void table_settle(struct table *table, bool was_clean)
{
	struct table_cache *cache = table->cache;
	bool clean = table_is_clean(table);

	table_list_remove(table);
	table_list_push(clean ? &cache->clean : &cache->held, table);
	cache->n_clean += (unsigned)clean - (unsigned)was_clean;
	cache->clean_len += ((size_t)clean - (size_t)was_clean) * (sizeof(*table) + table->len);
}

/* The address of *file is part of the hash: the writer of an image does not know it, and so can't
 * make offsets that fall into one bucket. */
static inline struct table **table_bucket(struct table_cache *cache, const struct file *file,
					  uint64_t host_off)
{
	uint64_t h = host_off ^ ((uint64_t)(uintptr_t)file * UINT64_C(0x9e3779b97f4a7c15));

	h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
	return &cache->buckets[(h ^ (h >> 31)) & (cache->n_buckets - 1)];
}

static inline void table_set_dirty(struct table *table, uint64_t sectors)
{
	table->cache->n_dirty_sectors += (unsigned)__builtin_popcountll(sectors);
	table->cache->n_dirty_sectors -= (unsigned)__builtin_popcountll(table->dirty_sectors);
	table->dirty_sectors = sectors;
}

static inline struct table *table_lookup(struct table_cache *cache, const struct file *file,
					 uint64_t host_off)
{
	struct table *table = *table_bucket(cache, file, host_off);

	while (table && (table->file != file || table->host_off != host_off))
		table = table->hash_next;
	return table;
}

/* A new table on the held list. Its bytes are zeros; in state LOADING they are undefined, and the
 * loader fills all of them. NULL: out of memory. */
struct table *table_add(struct table_cache *cache, struct file *file, uint64_t host_off,
			uint32_t len, enum table_state state);
/* Unlinks and frees it, dirty or not. */
void table_drop(struct table *table);

#endif
