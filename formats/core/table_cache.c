/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The cache of on-disk tables: a hash of (file, host offset) and two lists. A
 * table that may be dropped without loss lies on the clean list, most recently
 * used first; all others (loading, dirty, fresh, being written) lie on the
 * held list, where eviction never looks and staging looks for nothing else.
 * One list with a test for each table was rejected: a batch of dirty tables at
 * its end would be walked again for every table that is loaded.
 */
#include "formats/core/table_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/base.h"
#include "io/file.h"

/* As many clean tables stay whatever the budget says. With fewer, a walk over two or three tables
 * could lose the first one by loading the last one, for ever. */
#define TABLE_CACHE_KEEP 16u

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

static_assert(TABLE_MAX_LEN / TABLE_SECTOR_LEN == 64, "one bit of dirty_sectors a sector");

static void list_init(struct table_list *list)
{
	list->end.lru_prev = list->end.lru_next = &list->end;
}

static void list_push(struct table_list *list, struct table *table)
{
	table->lru_prev = &list->end;
	table->lru_next = list->end.lru_next;
	list->end.lru_next->lru_prev = table;
	list->end.lru_next = table;
}

static void list_remove(struct table *table)
{
	table->lru_prev->lru_next = table->lru_next;
	table->lru_next->lru_prev = table->lru_prev;
	table->lru_prev = table->lru_next = NULL;
}

/* Nothing is lost when it goes: the disk has the same bytes. A fresh table is not even reachable
 * on disk, and what lies there may be stale. */
static bool is_clean(const struct table *table)
{
	return table->state == TABLE_READY && !table->dirty_sectors && !table->n_writing &&
	       !table->fresh;
}

/* Puts the table first in the list it belongs to now. was_clean: where it lies. */
static void settle(struct table *table, bool was_clean)
{
	struct table_cache *cache = table->cache;
	bool clean = is_clean(table);

	list_remove(table);
	list_push(clean ? &cache->clean : &cache->held, table);
	cache->n_clean += (unsigned)clean - (unsigned)was_clean;
	cache->clean_len += ((size_t)clean - (size_t)was_clean) * (sizeof(*table) + table->len);
}

/* The pointer's address is unknown to who wrote the image, so long chains can't be aimed at. */
static struct table **bucket_of(struct table_cache *cache, const struct file *file,
				uint64_t host_off)
{
	uint64_t h = host_off ^ ((uint64_t)(uintptr_t)file * UINT64_C(0x9e3779b97f4a7c15));

	h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
	return &cache->buckets[(h ^ (h >> 31)) & (cache->n_buckets - 1)];
}

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
	list_init(&cache->clean);
	list_init(&cache->held);
	return cache;
}

/* Bytes of the table that lie in its sectors [first, first + n). */
static uint32_t sectors_len(const struct table *table, unsigned first, unsigned n)
{
	return MIN((first + n) * TABLE_SECTOR_LEN, table->len) - first * TABLE_SECTOR_LEN;
}

static void set_dirty_sectors(struct table *table, uint64_t sectors)
{
	table->cache->n_dirty_sectors += (unsigned)__builtin_popcountll(sectors);
	table->cache->n_dirty_sectors -= (unsigned)__builtin_popcountll(table->dirty_sectors);
	table->dirty_sectors = sectors;
}

/* Unlinks and frees it, dirty or not. */
static void table_drop(struct table *table)
{
	struct table_cache *cache = table->cache;
	struct table **link = bucket_of(cache, table->file, table->host_off);

	assert(!table->n_writing);
	while (*link != table)
		link = &(*link)->hash_next;
	*link = table->hash_next;
	cache->n_clean -= is_clean(table);
	cache->clean_len -= is_clean(table) * (sizeof(*table) + table->len);
	set_dirty_sectors(table, 0);
	cache->used -= sizeof(*table) + table->len;
	list_remove(table);
	free(table->bytes);
	free(table);
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
	struct table *table = *bucket_of(cache, file, host_off);

	while (table && (table->file != file || table->host_off != host_off))
		table = table->hash_next;
	return table;
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
	settle(table, is_clean(table));
	*out = table;
	return 0;
}

/* Evicts so that len more bytes fit, as far as clean tables go. */
static void make_room(struct table_cache *cache, size_t len)
{
	while (cache->used + len > cache->budget && cache->n_clean > TABLE_CACHE_KEEP)
		table_drop(cache->clean.end.lru_prev);
}

/* On the held list; zeros, or, to be loaded, anything: who loads it clears what a short read
 * leaves. */
static struct table *table_add(struct table_cache *cache, struct file *file, uint64_t host_off,
			       uint32_t len, enum table_state state)
{
	struct table **bucket;
	struct table *table;
	uint8_t *bytes;

	assert(len > 0 && len <= TABLE_MAX_LEN && len % 8 == 0);
	assert(!table_find(cache, file, host_off));
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

	bucket = bucket_of(cache, file, host_off);
	table->hash_next = *bucket;
	*bucket = table;
	list_push(&cache->held, table);
	cache->used += sizeof(*table) + len;
	if (state == TABLE_LOADING)
		cache->loading_len += sizeof(*table) + len;
	return table;
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
	settle(table, false);
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

struct table *table_new(struct table_cache *cache, struct file *file, uint64_t host_off,
			uint32_t len, enum stage stage)
{
	struct table *table = table_add(cache, file, host_off, len, TABLE_READY);
	if (!table)
		return NULL;
	table->stage = stage;
	table->fresh = true;
	return table;
}

void table_mark_dirty(struct table_cache *cache, struct table *table, uint32_t off, uint32_t len,
		      enum stage stage)
{
	bool was_clean;
	unsigned first;
	unsigned last;

	assert(table->cache == cache && table->state == TABLE_READY);
	assert(len > 0 && off < table->len && len <= table->len - off);

	was_clean = is_clean(table);
	first = off / TABLE_SECTOR_LEN;
	last = (off + len - 1) / TABLE_SECTOR_LEN;

	/* One table is changed at one stage. Should a damaged image have two tables share a place,
	 * the later one is right for both. */
	table->stage = table->dirty_sectors ? MAX(table->stage, stage) : stage;
	set_dirty_sectors(table, table->dirty_sectors | (UINT64_MAX >> (63 - (last - first)))
								<< first);
	settle(table, was_clean);
}

uint64_t table_cache_dirty_len(const struct table_cache *cache, const struct file *file)
{
	const struct table *end = &cache->held.end;
	uint64_t len = 0;

	if (!file || !cache->n_dirty_sectors)
		return cache->n_dirty_sectors * TABLE_SECTOR_LEN;
	for (const struct table *table = end->lru_next; table != end; table = table->lru_next)
		for (uint64_t left = table->file == file ? table->dirty_sectors : 0; left;
		     left &= left - 1)
			len += sectors_len(table, (unsigned)__builtin_ctzll(left), 1);
	return len;
}

size_t table_cache_changed_len(const struct table_cache *cache)
{
	return cache->used - cache->clean_len - cache->loading_len;
}

static void staged_push(struct staged *staged, enum stage stage, struct staged_write *write)
{
	write->next = staged->head[stage];
	staged->head[stage] = write;
	staged->n[stage]++;
}

int staged_add(struct staged *staged, enum stage stage, struct file *file, uint64_t host_off,
	       const void *bytes, uint32_t len)
{
	struct staged_write *write = malloc(sizeof(*write) + len);

	if (!write)
		return -ENOMEM;
	*write = (struct staged_write){ .file = file, .host_off = host_off, .len = len };
	memcpy(write->bytes, bytes, len);
	staged_push(staged, stage, write);
	return 0;
}

/* Copies each run of dirty sectors; the table is not told yet. 0 or -ENOMEM with some copied. */
static int table_copy_out(struct table *table, struct staged *copies)
{
	enum stage stage = table->fresh ? STAGE_REFCOUNT : table->stage;
	uint64_t left = table->dirty_sectors;

	while (left) {
		unsigned first = (unsigned)__builtin_ctzll(left);
		uint64_t clear_above = ~(left >> first);
		unsigned n = clear_above ? (unsigned)__builtin_ctzll(clear_above) : 64;
		uint32_t off = first * TABLE_SECTOR_LEN;
		int rc = staged_add(copies, stage, table->file, table->host_off + off,
				    table->bytes + off, sectors_len(table, first, n));

		if (rc < 0)
			return rc;
		copies->head[stage]->table = table;
		left &= ~((UINT64_MAX >> (64 - n)) << first);
	}
	return 0;
}

/* All copies are made: moves them over, and only now lets the tables know. A new table that was not
 * changed becomes reachable, too: it may be a slice of one that was. */
static void stage_copies(struct table_cache *cache, const struct file *file, struct staged *copies,
			 struct staged *staged)
{
	struct table *table;

	for (int stage = 0; stage < N_STAGES; stage++) {
		while (copies->head[stage]) {
			struct staged_write *write = copies->head[stage];

			copies->head[stage] = write->next;
			write->table->n_writing++;
			staged_push(staged, stage, write);
		}
	}

	table = cache->held.end.lru_next;
	while (table != &cache->held.end) {
		struct table *next = table->lru_next;

		if (table->file == file && table->state == TABLE_READY) {
			set_dirty_sectors(table, 0);
			table->fresh = false;
			if (is_clean(table))
				settle(table, false);
		}
		table = next;
	}
}

/* None of these was counted in n_writing. */
static void drop_copies(struct staged *copies)
{
	for (int stage = 0; stage < N_STAGES; stage++)
		for (struct staged_write *write = copies->head[stage]; write; write = write->next)
			write->table = NULL;
	staged_clear(copies);
}

int table_cache_stage(struct table_cache *cache, struct file *file, struct staged *staged)
{
	struct table *end = &cache->held.end;
	struct staged copies = { 0 };

	for (struct table *table = end->lru_next; table != end; table = table->lru_next) {
		if (table->file == file && table_copy_out(table, &copies) < 0) {
			drop_copies(&copies);
			return -ENOMEM;
		}
	}
	stage_copies(cache, file, &copies, staged);
	return 0;
}

void staged_write_done(struct staged_write *write)
{
	struct table *table = write->table;

	if (table) {
		assert(table->n_writing > 0);
		table->n_writing--;
		settle(table, false);
	}
	free(write);
}

void staged_clear_stage(struct staged *staged, enum stage stage)
{
	while (staged->head[stage]) {
		struct staged_write *write = staged->head[stage];

		staged->head[stage] = write->next;
		staged_write_done(write);
	}
	staged->n[stage] = 0;
}

void staged_clear(struct staged *staged)
{
	for (enum stage stage = 0; stage < N_STAGES; stage++)
		staged_clear_stage(staged, stage);
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
