/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/job/chain/ends.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/aside.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/job/chain/flatten.h"
#include "engine/job/chain/node.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_shared.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"

/* Without a sentence there was no worker: nothing was done. */
static void fail(struct bpull_disk *disk, int rc, const struct err *err)
{
	struct shown shown;

	if (err->message[0])
		job_fail(disk, rc, "%s", err->message);
	else
		job_fail(disk, rc, "%s: the job can't go on: %s", disk_show(disk, &shown),
			 strerror(-rc));
}

/* ---- unused clusters ---- */

static void forget_tables(struct bpull_disk *disk)
{
	table_cache_drop_clean(disk->engine->cache, disk_overlay(disk)->file);
}

static int reclaim_work(struct bpull_disk *disk, struct err *err)
{
	struct layer *overlay = disk_overlay(disk);

	return layer_reclaim(overlay, &disk->aside.n, err);
}

static void reclaim_end(struct bpull_disk *disk, int rc, const struct err *err)
{
	forget_tables(disk);
	if (disk->aside.was_run)
		disk->poisoned = rc;
	if (rc)
		fail(disk, rc, err);
	else if (disk->aside.n)
		job_say_leaked(disk);
}

static const struct aside_kind reclaim_kind = {
	.name = "reclaim", .is_exclusive = true, .work = reclaim_work, .end = reclaim_end
};

bool job_reclaim(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);

	/* With a guest, the disk's close does it. */
	if (disk->poisoned || disk->flags & BPULL_DISK_GUEST_IO)
		return true;
	return !layer_may_leak(overlay) || aside_do(disk, &reclaim_kind);
}

/* ---- tables outside the cache ---- */

static int reread_begin(struct bpull_disk *disk)
{
	struct layer *overlay = disk_overlay(disk);

	return layer_reread_begin(overlay, commit_is_running(disk), &disk->aside.state);
}

static int reread_work(struct bpull_disk *disk, struct err *err)
{
	struct layer *overlay = disk_overlay(disk);

	return layer_reread(overlay, disk->aside.state, err);
}

static void reread_end(struct bpull_disk *disk, int rc, const struct err *err)
{
	struct layer *overlay = disk_overlay(disk);

	layer_reread_end(overlay, STEAL(disk->aside.state), !rc);
	if (rc)
		fail(disk, rc, err);
}

static const struct aside_kind reread_kind = {
	.name = "reread", .begin = reread_begin, .work = reread_work, .end = reread_end
};

bool job_reread(struct bpull_disk *disk)
{
	return !layer_keeps_tables(disk_overlay(disk)) || aside_do(disk, &reread_kind);
}

/* ---- the file's end ---- */

static int cut_work(struct bpull_disk *disk, struct err *err)
{
	const struct layer *overlay = disk_overlay(disk);

	file_truncate(overlay->file, overlay->alloc_end);
	return 0;
}

/* The cut is a hint: errors change nothing. */
static void cut_end(struct bpull_disk *disk, int rc, const struct err *err)
{
	disk->walk->abandoned_end = 0;
}

static const struct aside_kind cut_kind = {
	.name = "cut", .is_exclusive = true, .work = cut_work, .end = cut_end
};

/* A guest takes space at the file's end at any time, so nothing may come between a look at that end
 * and the cut: the round waits for it, and only where space is wanted. What failed runs wrote is a
 * hole already. */
static void cut_beside_guest(struct bpull_disk *disk)
{
	struct blocking *round = blocking_set(NULL);
	struct err err;

	if (err_cannot_grow(disk->job.fault.error))
		cut_work(disk, &err);
	blocking_set(round);
	cut_end(disk, 0, &err);
}

bool job_give_back_space(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);
	struct copy_walk *walk = disk->walk;

	if (walk->abandoned_end <= overlay->alloc_end || disk->poisoned ||
	    overlay->file->is_block) {
		walk->abandoned_end = 0;
		return true;
	}
	if (disk->flags & BPULL_DISK_GUEST_IO) {
		cut_beside_guest(disk);
		return true;
	}
	/* Its writes make the file longer. */
	if (commit_will_end(disk))
		return false;
	return aside_do(disk, &cut_kind);
}

/* ---- dropped layers ---- */

static int close_work(struct bpull_disk *disk, struct err *err)
{
	file_close_all(STEAL(disk->dropped.files));
	return 0;
}

static const struct aside_kind close_kind = { .name = "close", .work = close_work };

bool job_close_dropped(struct bpull_disk *disk)
{
	/* Where there was no worker, the disk's close does it. */
	return !disk->dropped.files || aside_do(disk, &close_kind);
}

/* ---- a node's image ---- */

bool job_rest_node(struct bpull_disk *disk)
{
	if (!disk->nodes.of || disk->poisoned || !commit_is_clean(disk))
		return true;
	return node_rest(disk);
}

/* ---- the new file ---- */

static int flatten_work(struct bpull_disk *disk, struct err *err)
{
	return flatten_finish(disk, err);
}

static void flatten_end(struct bpull_disk *disk, int rc, const struct err *err)
{
	if (rc)
		fail(disk, rc, err);
}

static const struct aside_kind flatten_kind = { .name = "flatten",
						.work = flatten_work,
						.end = flatten_end };

bool job_finish_flatten(struct bpull_disk *disk)
{
	return !disk->flatten || aside_do(disk, &flatten_kind);
}

static int abandon_work(struct bpull_disk *disk, struct err *err)
{
	flatten_abandon(disk);
	return 0;
}

static const struct aside_kind abandon_kind = { .name = "abandon", .work = abandon_work };

bool job_abandon_flatten(struct bpull_disk *disk)
{
	/* Where there was no worker, the disk's close does it. */
	return !disk->flatten || flatten_is_over(disk) || aside_do(disk, &abandon_kind);
}
