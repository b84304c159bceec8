/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What commit.c and header.c share: the questions that others ask of a commit, holding commits
 * back, a commit's writes and barriers, its end.
 */
#include "engine/commit/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/io.h"

void commit_wake_waiters(struct bpull_disk *disk, int error)
{
	op_wake_all(&disk->commits.waiters, error, NULL, 0, false);
}

void commit_end(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;

	staged_clear(&commit->staged);
	free(commit->old_header);
	free(commit->writes);
	free(commit);
	disk->commits.in_flight = NULL;
	commit_wake_waiters(disk, disk->poisoned);
	engine_rerun(disk->engine);
}

enum step commit_write_stages(struct commit *commit, enum stage lo, enum stage hi)
{
	struct io_req *req;
	unsigned n = 0;

	for (enum stage s = lo; s < hi; s++)
		n += commit->staged.n[s];
	if (!n)
		return STEP_NEXT;
	commit->writing_lo = lo;
	commit->writing_hi = hi;
	commit->writes = calloc(n, sizeof(*commit->writes));
	if (!commit->writes) {
		op_set_error(&commit->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	disk_wrote(commit->op.disk, DISK_IMAGE);
	req = commit->writes;
	for (enum stage s = lo; s < hi; s++)
		for (struct staged_write *w = commit->staged.head[s]; w; w = w->next) {
			io_req_write(req, w->file, w->bytes, w->len, w->host_off);
			op_submit(&commit->op, req++);
		}
	return STEP_WAIT;
}

enum step commit_barrier(struct commit *commit)
{
	/* Writes that complete from here on are not covered. */
	commit->op.disk->commits.undurable = false;
	commit->synced = true;
	io_req_sync(&commit->sync, disk_overlay(commit->op.disk)->file);
	op_submit(&commit->op, &commit->sync);
	return STEP_WAIT;
}

bool commit_is_stalled(const struct bpull_disk *disk)
{
	return disk->commits.in_flight && disk->commits.in_flight->stalled;
}

bool commit_is_running(const struct bpull_disk *disk)
{
	return disk->commits.in_flight != NULL;
}

bool commit_will_end(const struct bpull_disk *disk)
{
	return disk->commits.in_flight && !disk->commits.in_flight->stalled;
}

void commit_hold(struct bpull_disk *disk)
{
	disk->commits.held = true;
}

void commit_release(struct bpull_disk *disk)
{
	if (!disk->commits.held)
		return;
	disk->commits.held = false;
	if (!disk->commits.in_flight)
		commit_wake_waiters(disk, 0);
}

void commit_abandon(struct bpull_disk *disk)
{
	if (commit_is_stalled(disk))
		commit_end(disk->commits.in_flight);
}

void commit_forget(struct bpull_disk *disk)
{
	struct disk_commits *commits = &disk->commits;

	assert(!commit_will_end(disk));
	commit_abandon(disk);
	commits->undurable = commits->data_undurable = false;
	commits->published_len = commits->first_published_ns = 0;
	disk->poisoned = 0;
}
