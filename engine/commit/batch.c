/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The batch that the next commit makes durable: what was published since the last one began, and
 * when it is large or old enough.
 */
#include "engine/commit/batch.h"

#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "formats/core/layer.h"
#include "formats/core/table_dirty.h"

/* A batch is committed this long after its first entry. */
#define COMMIT_NS UINT64_C(2000000000)

bool commit_is_due(const struct bpull_disk *disk, uint64_t now_ns)
{
	const struct bpull_engine *engine = disk->engine;

	if (disk->commits.published_len >= engine->budget.commit_len)
		return true;
	if (disk->commits.first_published_ns && now_ns >= commit_due_ns(disk))
		return true;
	return table_cache_changed_len(engine->cache) >= engine->budget.changed_len / 2 &&
	       table_cache_dirty_len(engine->cache,
				     disk_overlay(disk)->file); /* looks at each table */
}

uint64_t commit_due_ns(const struct bpull_disk *disk)
{
	return disk->commits.first_published_ns ? disk->commits.first_published_ns + COMMIT_NS
						: UINT64_MAX;
}

bool commit_is_overdue(const struct bpull_disk *disk)
{
	return table_cache_changed_len(disk->engine->cache) > disk->engine->budget.changed_len;
}

bool commit_makes_room(const struct bpull_disk *disk)
{
	return disk->commits.in_flight ||
	       table_cache_dirty_len(disk->engine->cache, disk_overlay(disk)->file);
}

void commit_note_published(struct bpull_disk *disk, uint64_t len)
{
	disk->commits.published_len += len;
	if (!disk->commits.first_published_ns)
		disk->commits.first_published_ns = engine_now_ns();
}

bool commit_is_clean(const struct bpull_disk *disk)
{
	return !disk->commits.in_flight && !disk->commits.undurable &&
	       !disk->commits.data_undurable && !disk->commits.published_len &&
	       !table_cache_dirty_len(disk->engine->cache, disk_overlay(disk)->file);
}
