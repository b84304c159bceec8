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
#include "engine/core/drop.h"
#include "engine/core/fault.h"
#include "engine/core/op.h"
#include "engine/guest/request.h"

/* If the job waits to drop the link, the flush begins that commit: else flush after flush could
 * keep the job out. */
static enum commit_kind kind(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	if (job->step == JOB_DETACHING && !disk->link.changed && !job->fault.error &&
	    !job->aborted && !job_is_stopped(disk) && drop_is_safe(disk) &&
	    disk->guests.prepare != GUESTS_PREPARING)
		return COMMIT_DETACH;
	return COMMIT_HARD;
}

enum step guest_wait_durable(struct guest *g, bool waits_for_room, bool *is_durable)
{
	struct bpull_disk *disk = g->op.disk;

	*is_durable = false;
	if (disk->poisoned)
		return guest_error(g, -EIO);
	if (!g->sync_target) {
		*is_durable = commit_is_clean(disk);
		if (*is_durable)
			return STEP_NEXT;
		g->sync_target = disk->commits.n_begun + 1;
	}
	*is_durable = disk->commits.last_hard >= g->sync_target;
	if (*is_durable)
		return STEP_NEXT;
	if (!commit_revive(disk) && !waits_for_room)
		return guest_error(g, commit_stall_error(disk));
	if (!commit_await(disk, kind(disk), &g->op))
		return guest_error(g, disk->poisoned ? -EIO : -ENOMEM);
	return STEP_WAIT;
}

enum step guest_sync(struct guest *g)
{
	enum step step;
	bool is_durable;

	if (g->op.disk->flags & BPULL_DISK_READ_ONLY)
		return guest_go(g, GUEST_OVER);
	/* A request with a lock must not wait for the job, whose runs may wait for that lock. */
	step = guest_wait_durable(g, !g->locked, &is_durable);
	return is_durable ? guest_go(g, GUEST_OVER) : step;
}
