/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The map of an open disk's chain. The tables that it lacks are read on the caller's thread, which
 * lets other threads in meanwhile; a running guest and job go on.
 */
#include <errno.h>
#include <string.h>

#include "engine/api/options/args.h"
#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/job/ahead/damage.h"
#include "engine/job/round.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"

static int ask(struct bpull_disk *disk, uint64_t guest_off, struct extent *e,
	       struct table_need *need)
{
	struct layer *top = disk_overlay(disk);
	/* Not the layer's length, which is the new one already while the disk is made longer. */
	uint64_t len = disk->guests.len - guest_off;

	if (!(disk->flags & BPULL_DISK_NO_BACKING))
		return chain_map(disk->chain, 0, guest_off, len, e, need);
	e->depth = 0;
	return layer_map(top, guest_off, len, e, need);
}

static int map_at(struct bpull_disk *disk, uint64_t guest_off, struct extent *e)
{
	struct table_need need;
	int rc;

	while ((rc = ask(disk, guest_off, e, &need)) == TABLE_NEED) {
		rc = table_load_now(disk->engine->cache, &need);
		if (rc == -EALREADY) { /* an operation is loading this table */
			engine_wait_round(disk->engine, UINT64_MAX);
		} else if (rc) {
			return rc;
		}
	}
	return rc;
}

static int map_all(struct bpull_disk *disk, uint64_t start, struct bpull_extent *extents, int max,
		   struct err *err)
{
	uint64_t guest_len = disk->guests.len;
	int n = 0, rc = damage_refuse_sharing(disk, err);
	struct shown shown;

	while (!rc && start < guest_len) {
		struct bpull_extent next;
		struct extent e;

		rc = map_at(disk, start, &e);
		if (rc)
			return err_set(err, rc, "%s: cannot map the disk at guest offset %#llx: %s",
				       disk_show(disk, &shown), (unsigned long long)start,
				       rc == -EUCLEAN ? "a table entry points outside its file"
						      : strerror(-rc));
		next = extent_export(disk->chain, &e);
		start += e.len;
		if (n && extent_merge(&extents[n - 1], &next))
			continue;
		if (n == max)
			break;
		extents[n++] = next;
		blocking_pause();
	}
	return rc ? rc : n;
}

int bpull_disk_map(struct bpull_disk *disk, uint64_t start, struct bpull_extent *extents, int max,
		   struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct engine_yields yields;
	struct err err = { 0 };
	int n;

	error_begin(error);
	if (is_missing(disk, "disk", error) || is_missing(extents, "extents", error))
		return -EINVAL;
	if (max <= 0)
		return error_fill(error, -EINVAL, "no room for an extent");
	/* Wait while layers are dropped: a program that maps on and on must not delay it. */
	while (disk->exclusive || (disk->guests.dropping && disk->engine->thread.is_on))
		engine_wait_round(disk->engine, UINT64_MAX);
	if (disk->guests.rest != DISK_ACTIVE)
		return error_fill(error, -EPERM, "the disk is inactive: activate it first");
	disk->n_walking++;
	engine_yields_begin(&yields, disk->engine);
	n = map_all(disk, start, extents, max, &err);
	engine_yields_end(&yields);
	disk->n_walking--;
	engine_rerun(disk->engine); /* a job may wait for this to drop layers */
	return n < 0 ? error_export(&err, error) : n;
}
