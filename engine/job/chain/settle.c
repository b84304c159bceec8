/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/job/chain/settle.h"

#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "formats/core/layer.h"
#include "formats/core/layer_shared.h"

/* Freed space is counted free by the next commit but one, or later where a table can't be read. */
#define MAX_COMMITS 32u

bool disk_retry_once(struct bpull_disk *disk, bool *has_retried)
{
	if (*has_retried || !commit_is_stalled(disk))
		return false;
	*has_retried = true;
	commit_retry(disk);
	return true;
}

bool disk_settle_on(struct bpull_disk *disk, unsigned *n_commits)
{
	/* A worker may use the image even where no commit can be had. */
	if (disk->guests.first || disk->guests.discard.runs)
		return false;
	if (disk->poisoned || commit_is_stalled(disk))
		return true;
	if (disk->guests.draining || commit_is_running(disk))
		return false;
	if (commit_is_clean(disk) && !layer_has_freed(disk_overlay(disk)))
		return !disk->n_background;
	if (*n_commits == MAX_COMMITS)
		return true;
	++*n_commits;
	commit_begin(disk, COMMIT_HARD);
	return !commit_is_running(disk);
}

bool disk_settle_node(struct bpull_disk *disk)
{
	return !disk->nodes.of || commit_is_clean(disk) ||
	       disk_settle_on(disk, &disk->job.down.n_settles.own);
}
