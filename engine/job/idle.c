/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job that finds nothing to do promises all the same: COMPLETED means that the files below
 * may go, also where another process did the work and was killed just before it could say so.
 *
 * To say so by a commit was rejected: the disk of a program that never writes to it is not prepared
 * for one, and preparing would audit all of its tables.
 */
#include "engine/job/idle.h"

#include "engine/commit/batch.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "engine/job/round.h"
#include "formats/core/layer.h"
#include "io/err.h"
#include "io/file.h"

/* A failed sync is told to one caller only: no commit may be in its barrier beside this one. */
static int sync_alone(struct bpull_disk *disk)
{
	int rc;

	commit_hold(disk);
	while (commit_will_end(disk))
		engine_wait_round(disk->engine, UINT64_MAX);
	rc = file_sync(disk_overlay(disk)->file);
	commit_release(disk);
	return rc;
}

int idle_make_durable(struct bpull_disk *disk, struct err *err)
{
	struct file *file = disk_overlay(disk)->file;
	struct shown shown;
	int rc;

	/* A node's job ends by a commit of its own. A raw image never had a link. */
	if (disk->nodes.of || disk_is_raw(disk) || (disk->may_write && commit_is_clean(disk)))
		return 0;
	rc = sync_alone(disk);
	if (!rc)
		return 0;
	disk->poisoned = rc;
	return err_errno(err, rc, "%s: it has nothing to pull, but can't be made durable",
			 file_show(file, &shown));
}
