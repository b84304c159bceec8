/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a table gets into the cache and out of it. */
#include "formats/core/table_lists.h"

#include <assert.h>
#include <stdlib.h>

#include "formats/core/table_cache.h"
#include "io/base.h"

/* So many clean tables stay, whatever the budget says. With fewer, a walk over two or three tables
 * could evict the first by loading the last, again and again. */
#define TABLE_CACHE_KEEP 16u

void table_drop(struct table *table)
{
	struct table_cache *cache = table->cache;
	struct table **link = table_bucket(cache, table->file, table->host_off);

	assert(!table->n_writing);
	while (*link != table)
		link = &(*link)->hash_next;
	*link = table->hash_next;
	cache->n_clean -= table_is_clean(table);
	cache->clean_len -= table_is_clean(table) * (sizeof(*table) + table->len);
	table_set_dirty(table, 0);
	cache->used -= sizeof(*table) + table->len;
	table_list_remove(table);
	free(table->bytes);
	free(table);
}

/* Evicts so that len more bytes fit, as far as clean tables go. */
static void make_room(struct table_cache *cache, size_t len)
{
	while (cache->used + len > cache->budget && cache->n_clean > TABLE_CACHE_KEEP)
		table_drop(cache->clean.end.lru_prev);
}

struct table *table_add(struct table_cache *cache, struct file *file, uint64_t host_off,
			uint32_t len, enum table_state state)
{
	struct table **bucket;
	struct table *table;
	uint8_t *bytes;

	assert(len > 0 && len <= TABLE_MAX_LEN && len % 8 == 0);
	assert(!table_lookup(cache, file, host_off));
	make_room(cache, sizeof(struct table) + len);

	table = calloc(1, sizeof(*table));
	bytes = state == TABLE_LOADING ? malloc(len) : calloc(1, len);
	if (!table || !bytes) {
		free(bytes);
		free(table);
		return NULL;
	}
	*table = (struct table){ .file = file,
				 .host_off = host_off,
				 .len = len,
				 .state = state,
				 .bytes = bytes,
				 .cache = cache };

	bucket = table_bucket(cache, file, host_off);
	table->hash_next = *bucket;
	*bucket = table;
	table_list_push(&cache->held, table);
	cache->used += sizeof(*table) + len;
	if (state == TABLE_LOADING)
		cache->loading_len += sizeof(*table) + len;
	return table;
}
