/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Making the guest's writes durable: a flush waits for a hard commit that
 * begins after the flush was submitted. All flushes that wait share the next
 * commit. A barrier for each was rejected: the flushes of a guest's threads
 * would queue up behind each other.
 */
#include "engine/guest/flush.h"

#include <errno.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/op.h"
#include "engine/guest/request.h"

/* If the job waits to drop the link, the flush begins that commit: else flush after flush could
 * keep the job out. */
static enum commit_kind kind(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	if (job->step == JOB_DETACHING && !disk->link.changed && !job->error && !job->aborted &&
	    !job_is_stopped(disk) && guest_may_drop(disk) &&
	    disk->guests.prepare != GUESTS_PREPARING)
		return COMMIT_DETACH;
	return COMMIT_HARD;
}

enum step guest_sync(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;

	if (disk->flags & BPULL_DISK_READ_ONLY)
		return guest_go(g, GUEST_OVER);
	if (disk->poisoned)
		return guest_error(g, -EIO);
	if (!g->sync_target) {
		if (commit_is_clean(disk))
			return guest_go(g, GUEST_OVER);
		g->sync_target = disk->commits.n_begun + 1;
	}
	if (disk->commits.last_hard >= g->sync_target)
		return guest_go(g, GUEST_OVER);
	if (!commit_revive(disk) && g->locked)
		return guest_error(g, commit_stall_error(disk));
	if (!commit_await(disk, kind(disk), &g->op))
		return guest_error(g, disk->poisoned ? -EIO : -ENOMEM);
	return STEP_WAIT;
}
