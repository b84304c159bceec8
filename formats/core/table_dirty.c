/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Tables that are new or changed, and the copies of them that a commit writes. */
#include "formats/core/table_dirty.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_lists.h"
#include "io/base.h"

static_assert(TABLE_MAX_LEN / TABLE_SECTOR_LEN == 64, "one bit of dirty_sectors a sector");

/* Bytes of the table that lie in its sectors [first, first + n). */
static uint32_t sectors_len(const struct table *table, unsigned first, unsigned n)
{
	return MIN((first + n) * TABLE_SECTOR_LEN, table->len) - first * TABLE_SECTOR_LEN;
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

	was_clean = table_is_clean(table);
	first = off / TABLE_SECTOR_LEN;
	last = (off + len - 1) / TABLE_SECTOR_LEN;

	/* One table is changed at one stage. Should a damaged image have two tables share a place,
	 * the later one is right for both. */
	table->stage = table->dirty_sectors ? MAX(table->stage, stage) : stage;
	table_set_dirty(table, table->dirty_sectors | (UINT64_MAX >> (63 - (last - first)))
							      << first);
	table_settle(table, was_clean);
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

/* Copies each range of dirty sectors; the table is not told yet. 0 or -ENOMEM with some copied. */
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

/* The changes of the file's tables are staged, or given up: no table is dirty or fresh any more. */
static void table_settle_all(struct table_cache *cache, const struct file *file)
{
	struct table *table = cache->held.end.lru_next;

	while (table != &cache->held.end) {
		struct table *next = table->lru_next;

		if (table->file == file && table->state == TABLE_READY) {
			table_set_dirty(table, 0);
			table->fresh = false;
			if (table_is_clean(table))
				table_settle(table, false);
		}
		table = next;
	}
}

/* All copies are made: moves them over, and only now lets the tables know. A new table that was not
 * changed becomes reachable, too: it may be a slice of one that was. */
static void stage_copies(struct table_cache *cache, const struct file *file, struct staged *copies,
			 struct staged *staged)
{
	for (int stage = 0; stage < N_STAGES; stage++) {
		while (copies->head[stage]) {
			struct staged_write *write = copies->head[stage];

			copies->head[stage] = write->next;
			write->table->n_writing++;
			staged_push(staged, stage, write);
		}
	}
	table_settle_all(cache, file);
}

/* Frees copies that were not counted in n_writing. */
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

void table_cache_revert(struct table_cache *cache, struct file *file)
{
	table_settle_all(cache, file);
	table_cache_drop_clean(cache, file);
}
