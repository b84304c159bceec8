/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A disk that gives its image away for a while: to another process that a virtual
 * machine migrates to, or to a tool. Everything is durable before the locks go, and
 * everything is read again when they are back. Requests are refused meanwhile; letting
 * them wait was rejected: a guest that waits looks like one that hangs.
 */
#include <errno.h>
#include <string.h>

#include "engine/api/options/args.h"
#include "engine/api/rest.h"
#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/mixed.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/job/chain/settle.h"
#include "engine/job/round.h"
#include "formats/chain/rest.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"

/* So long bpull_disk_activate() retries a lock that another program holds. */
#define LOCK_WAIT_MS 1000

void disk_settle(struct bpull_disk *disk)
{
	bool has_retried = false;
	unsigned n_commits = 0;

	engine_rerun(disk->engine); /* requests that were just submitted begin in the next round */
	for (unsigned n_before = 0;; n_before = n_commits) {
		if (!disk->poisoned && disk_retry_once(disk, &has_retried))
			engine_rerun(disk->engine);
		if (disk_settle_on(disk, &n_commits))
			return;
		if (n_commits != n_before)
			engine_rerun(disk->engine);
		engine_wait_round(disk->engine, UINT64_MAX);
	}
}

void disk_wait_for_nodes(struct bpull_disk *disk)
{
	if (disk->nodes.n)
		engine_rerun(disk->engine); /* the next round frees the last job's node */
	while (!disk_has_job(disk) && disk->nodes.n)
		engine_wait_round(disk->engine, UINT64_MAX);
}

void disk_stop_guests(struct bpull_disk *disk)
{
	engine_rerun(disk->engine); /* the next round starts requests that are only submitted */
	while (!guest_is_idle(disk))
		engine_wait_round(disk->engine, UINT64_MAX);
}

void disk_reclaim(struct bpull_disk *disk)
{
	struct layer *overlay = disk_overlay(disk);
	struct err err = { 0 };
	uint64_t n_left;

	if (!disk->poisoned && disk->may_write && commit_is_clean(disk))
		layer_reclaim(overlay, &n_left, &err);
}

bool disk_is_busy(const struct bpull_disk *disk)
{
	return disk->guests.draining || disk->guests.discard.runs || disk->n_background;
}

int disk_say_not_durable(const struct bpull_disk *disk, const char *so, struct err *err)
{
	bool is_stalled = !disk->poisoned && commit_is_stalled(disk);
	struct shown shown;

	return err_errno(err, is_stalled ? commit_stall_error(disk) : -EIO,
			 "%s: what was written could not be made durable, so %s",
			 disk_show(disk, &shown), so);
}

/* Waits until no request, job or walk is left, and all is durable; none begins, since guests.rest
 * is DISK_CHANGING. 0, or -errno with a sentence: -EBUSY a job runs. */
static int come_to_rest(struct bpull_disk *disk, struct err *err)
{
	struct shown shown;

	while (disk->exclusive || disk->n_walking)
		engine_wait_round(disk->engine, UINT64_MAX);
	disk_wait_for_nodes(disk);
	if (disk_has_job(disk))
		return err_set(err, -EBUSY, "%s: a job runs on this disk: abort it first",
			       disk_show(disk, &shown));
	disk_stop_guests(disk);
	if (disk->flags & BPULL_DISK_GUEST_IO)
		disk_settle(disk);
	if (disk->poisoned || (disk->may_write && !commit_is_clean(disk)))
		return disk_say_not_durable(disk, "the disk stays active", err);
	engine_rerun(disk->engine); /* the next round gives back what was let go */
	while (disk_is_busy(disk))
		engine_wait_round(disk->engine, UINT64_MAX);
	return 0;
}

int bpull_disk_inactivate(struct bpull_disk *disk, struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct engine_yields yields;
	struct err err = { 0 };
	int rc;

	error_begin(error);
	if (is_missing(disk, "disk", error))
		return -EINVAL;
	if (disk->flatten)
		return error_fill(error, -EINVAL, "the disk of a new file can't be inactive");
	if (disk->guests.rest == DISK_INACTIVE)
		return 0;
	if (disk->guests.rest != DISK_ACTIVE)
		return error_fill(error, -EBUSY, "another thread changes this disk's activity");
	disk->guests.rest = DISK_CHANGING;
	rc = come_to_rest(disk, &err);
	if (rc) {
		disk->guests.rest = DISK_ACTIVE;
		return error_export(&err, error);
	}
	engine_yields_begin(&yields, disk->engine);
	disk_reclaim(disk);
	mixed_mark_closing(disk);
	file_close_all(STEAL(disk->dropped.files));
	chain_rest(disk->chain);
	engine_yields_end(&yields);
	disk->guests.rest = DISK_INACTIVE;
	return 0;
}

static int wake(struct bpull_disk *disk, unsigned lock_wait_ms, struct err *err)
{
	struct layer *overlay;
	int rc = chain_wake(disk->chain, lock_wait_ms, disk_note_file_closing, disk->engine, err);

	if (rc)
		return rc;
	overlay = disk_overlay(disk);
	if (disk->may_write)
		rc = layer_begin_writing(overlay, err);
	if (rc)
		chain_rest(disk->chain);
	else if (disk->may_write)
		disk_began_writing(disk);
	return rc;
}

static int activate(struct bpull_disk *disk, unsigned lock_wait_ms, struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct engine_yields yields;
	struct err err = { 0 };
	int rc;

	error_begin(error);
	if (is_missing(disk, "disk", error))
		return -EINVAL;
	if (disk->guests.rest == DISK_ACTIVE)
		return 0;
	if (disk->guests.rest != DISK_INACTIVE)
		return error_fill(error, -EBUSY, "another thread changes this disk's activity");
	disk->guests.rest = DISK_CHANGING;
	engine_yields_begin(&yields, disk->engine);
	rc = wake(disk, lock_wait_ms, &err);
	engine_yields_end(&yields);
	disk->guests.rest = rc ? DISK_INACTIVE : DISK_ACTIVE;
	if (rc)
		return error_export(&err, error);
	disk->guests.prepare = GUESTS_UNPREPARED;
	disk->guests.len = disk_overlay(disk)->guest_len; /* another may have made it longer */
	disk->since_opened.sharing_checked = disk->since_opened.has_copied = false;
	engine_wake(disk->engine);
	return 0;
}

int bpull_disk_activate(struct bpull_disk *disk, struct bpull_error *error)
{
	return activate(disk, LOCK_WAIT_MS, error);
}

int bpull_disk_try_activate(struct bpull_disk *disk, struct bpull_error *error)
{
	return activate(disk, 0, error);
}
