/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Table, commit or error: the one decision for copy runs and for the guest's requests. */
#include "engine/commit/retry.h"

#include <errno.h>

#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/core/load.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"

/* 0: the operation waits for the commit. Else -errno, its error. */
static int await_commit(struct op *op, bool begins)
{
	struct bpull_disk *disk = op->disk;

	if (begins) {
		if (!commit_revive(disk))
			return commit_stall_error(disk);
		if (commit_await(disk, COMMIT_SOFT, op))
			return 0;
		return disk->poisoned ? -EIO : -ENOMEM;
	}
	if (commit_is_stalled(disk))
		return commit_stall_error(disk);
	if (!commit_is_running(disk))
		return -EAGAIN;
	commit_wait(disk, op);
	return 0;
}

enum step op_retry_later(struct op *op, int rc, const struct retry *how)
{
	if (rc == TABLE_NEED)
		return op_wait_table(op, how->need);
	if (rc == -EAGAIN)
		rc = await_commit(op, how->begins_commit);
	if (!rc)
		return STEP_WAIT;
	op_set_error(op, rc, disk_overlay(op->disk)->file, how->off, how->is_read);
	return STEP_NEXT;
}
