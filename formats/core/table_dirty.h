/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Changes of cached tables: made in memory, marked by 512-byte sector, and
 * copied out for a commit by table_cache_stage(), so an entry changed later
 * belongs to the next one (invariant I6 in engine/commit/commit.c).
 */
#ifndef BLOCKPULL_FORMATS_CORE_TABLE_DIRTY_H
#define BLOCKPULL_FORMATS_CORE_TABLE_DIRTY_H

#include <stddef.h>
#include <stdint.h>

#include "formats/core/staged.h"

struct file;
struct table;
struct table_cache;

/* A new table of zeros, READY and fresh; nothing is dirty yet. What is never marked dirty is never
 * written, so it must read as zeros on disk, too. The range is not cached. NULL: out of memory. */
struct table *table_new(struct table_cache *cache, struct file *file, uint64_t host_off,
			uint32_t len, enum stage stage);
/* Marks bytes [off, off + len) of the table changed. For a table reached from disk, `stage` says
 * when; a fresh one goes with STAGE_REFCOUNT whatever it says. */
void table_mark_dirty(struct table_cache *cache, struct table *table, uint32_t off, uint32_t len,
		      enum stage stage);

/* Bytes of sectors of this file's tables changed and not staged yet; NULL: of all files', rounded
 * up to whole sectors, without looking at each table. */
uint64_t table_cache_dirty_len(const struct table_cache *cache, const struct file *file);
/* Bytes of memory in tables that can be evicted when a commit has written them. Those being loaded
 * are not among them: a caller that waits for a commit because of one would spin, since
 * nothing is written. */
size_t table_cache_changed_len(const struct table_cache *cache);
/* Moves copies of all dirty sectors of this file's tables into *staged, and makes fresh tables
 * reachable ones. All or nothing: -ENOMEM changes nothing. */
int table_cache_stage(struct table_cache *cache, struct file *file, struct staged *staged);
/* Forgets what was changed, and all else but what is being loaded: the file's tables are read from
 * disk again. Nothing of them is being written. */
void table_cache_revert(struct table_cache *cache, struct file *file);

#endif
