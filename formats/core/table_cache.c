/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The cache of on-disk tables: what is looked up and loaded. table_lists.h says how it is kept. */
#include "formats/core/table_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/table_lists.h"
#include "io/base.h"
#include "io/file.h"

struct table_cache *table_cache_new(size_t budget)
{
	size_t n_buckets = 256;
	struct table_cache *cache;

	while (n_buckets < 65536 && n_buckets < budget / 4096)
		n_buckets *= 2;

	cache = calloc(1, sizeof(*cache) + n_buckets * sizeof(*cache->buckets));
	if (!cache)
		return NULL;
	cache->budget = budget;
	cache->n_buckets = n_buckets;
	table_list_init(&cache->clean);
	table_list_init(&cache->held);
	return cache;
}

size_t table_cache_budget(const struct table_cache *cache)
{
	return cache->budget;
}

void table_cache_set_budget(struct table_cache *cache, size_t budget)
{
	cache->budget = budget;
}

static void drop_all(struct table_list *list)
{
	while (list->end.lru_next != &list->end)
		table_drop(list->end.lru_next);
}

void table_cache_free(struct table_cache *cache)
{
	if (!cache)
		return;
	drop_all(&cache->clean);
	drop_all(&cache->held);
	assert(!cache->used && !cache->n_clean);
	free(cache);
}

struct table *table_find(struct table_cache *cache, struct file *file, uint64_t host_off)
{
	return table_lookup(cache, file, host_off);
}

int table_get(struct table_cache *cache, struct file *file, uint64_t host_off, uint32_t len,
	      struct table **out, struct table_need *need)
{
	struct table *table;

	assert(len > 0 && len <= TABLE_MAX_LEN && len % 8 == 0);

	table = table_find(cache, file, host_off);
	if (table && table->len != len)
		return -EUCLEAN;
	if (!table || table->state == TABLE_LOADING) {
		*need = (struct table_need){ .file = file, .host_off = host_off, .len = len };
		return TABLE_NEED;
	}
	table_settle(table, table_is_clean(table));
	*out = table;
	return 0;
}

struct table *table_load_begin(struct table_cache *cache, const struct table_need *need)
{
	return table_add(cache, need->file, need->host_off, need->len, TABLE_LOADING);
}

void table_load_end(struct table_cache *cache, struct table *table, int error)
{
	assert(table->cache == cache && table->state == TABLE_LOADING);
	cache->loading_len -= sizeof(*table) + table->len;
	if (error) {
		table_drop(table);
		return;
	}
	table->state = TABLE_READY;
	table_settle(table, false);
}

unsigned table_load_begin_some(struct table_cache *cache, const struct table_need *need,
			       struct table **tables, unsigned max)
{
	unsigned n = 0;

	for (uint32_t off = 0; n < max && (!off || off <= need->more_len); off += need->len) {
		struct table_need one = { .file = need->file,
					  .host_off = need->host_off + off,
					  .len = need->len };

		if (off && table_find(cache, one.file, one.host_off))
			break;
		tables[n] = table_load_begin(cache, &one);
		if (!tables[n])
			break;
		n++;
	}
	return n;
}

/* So many tables behind each other with one read. */
#define LOAD_NOW_MAX 16u

static int read_some(const struct table_need *need, struct table **tables, unsigned n)
{
	uint8_t *bytes = malloc((size_t)n * need->len);
	/* The formats have checked where tables may lie; the last one may end behind the file. */
	int rc = bytes ? file_read_padded(need->file, bytes, (size_t)n * need->len, need->host_off)
		       : -ENOMEM;

	for (unsigned i = 0; !rc && i < n; i++)
		memcpy(tables[i]->bytes, bytes + (size_t)i * need->len, need->len);
	free(bytes);
	return rc;
}

int table_load_now(struct table_cache *cache, const struct table_need *need)
{
	struct table *table = table_find(cache, need->file, need->host_off);
	struct table *tables[LOAD_NOW_MAX];
	unsigned n;
	int rc;

	if (table && table->state == TABLE_LOADING)
		return -EALREADY;
	if (table)
		return table->len == need->len ? 0 : -EUCLEAN;
	n = table_load_begin_some(cache, need, tables, LOAD_NOW_MAX);
	if (!n)
		return -ENOMEM;
	rc = read_some(need, tables, n);
	while (n--)
		table_load_end(cache, tables[n], rc);
	return rc;
}

/* Drops the tables of a file that lie on one list. */
static void list_drop(struct table_list *list, const struct file *file)
{
	struct table *table = list->end.lru_next;

	while (table != &list->end) {
		struct table *next = table->lru_next;

		assert(table->file != file || table->state == TABLE_READY);
		if (table->file == file)
			table_drop(table);
		table = next;
	}
}

void table_cache_forget(struct table_cache *cache, struct file *file)
{
	list_drop(&cache->clean, file);
	list_drop(&cache->held, file);
}

void table_cache_drop_clean(struct table_cache *cache, struct file *file)
{
	list_drop(&cache->clean, file);
}
