/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The end of a commit that drops the backing link: invariants I3, I4 and I8 of commit.c.
 *
 *   READ -> WRITE -> BARRIER -> LINK_GONE
 *            |          \-> RESTORE -> RESTORE_BARRIER -> LINK_KEPT
 *            |\-> RESTORE, if the write failed
 *            \-> LOOK_AT -> COMPARE -> RESTORE or LINK_KEPT, if it found no space
 */
#include "engine/commit/header.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/commit/commit.h"
#include "engine/commit/may_drop.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/op.h"
#include "formats/chain/hidden.h"
#include "formats/core/layer.h"
#include "formats/core/layer_header.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/io.h"

enum step commit_go_on_with_link(struct commit *commit)
{
	commit->kind = COMMIT_HARD;
	commit->phase = COMMIT_LET_GO_NOW;
	return STEP_NEXT;
}

static enum step submit_header(struct commit *commit)
{
	op_submit(&commit->op, &commit->header);
	return STEP_WAIT;
}

static enum step read_header(struct commit *commit)
{
	const struct staged_write *w = commit->staged.head[STAGE_HEADER];

	if (may_drop_check(commit->op.disk))
		return commit_go_on_with_link(commit);
	commit->header_phase = HEADER_WRITE;
	if (!w) /* a new raw file has none */
		return STEP_NEXT;
	assert(!w->next);
	commit->header_off = w->host_off;
	commit->header_len = w->len;
	commit->old_header = calloc(2, w->len);
	if (!commit->old_header) {
		job_fail(commit->op.disk, -ENOMEM, "out of memory");
		return commit_go_on_with_link(commit);
	}
	io_req_read(&commit->header, w->file, commit->old_header, w->len, w->host_off);
	return submit_header(commit);
}

static enum step write_header(struct commit *commit)
{
	if (may_drop_check(commit->op.disk))
		return commit_go_on_with_link(commit);
	commit->header_phase = HEADER_BARRIER;
	commit->op.disk->link.leaving = true;
	return commit_write_stages(commit, STAGE_HEADER, N_STAGES);
}

/* The header on disk names the new base, or none: the chain in memory follows. The files of the
 * dropped layers go to disk->dropped, and the job closes them. No request that might use them is in
 * flight, since may_drop_check() has asked for that. */
static enum step link_gone(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;
	struct layer *overlay = disk_overlay(disk);

	disk->link.leaving = false;
	layer_link_durable(overlay);
	overlay->has_backing = disk->base_name != NULL;
	if (disk->base_name) {
		free(overlay->backing.name);
		overlay->backing.name = STEAL(disk->base_name);
		overlay->backing.format = layer_format(disk->chain->layers[disk->chain->pull_to]);
		overlay->backing.format_name[0] = 0;
	}
	for (struct bpull_disk *d = disk; d; d = d->nodes.of)
		chain_drop_hidden(d->chain, disk_note_file_closing, disk->engine,
				  &disk->dropped.files);
	disk->link.changed = true;
	commit->phase = COMMIT_LET_GO_NOW;
	return STEP_NEXT;
}

static enum step look_at_header(struct commit *commit)
{
	commit->header_phase = HEADER_COMPARE;
	if (!commit->old_header)
		return STEP_NEXT;
	io_req_read(&commit->header, disk_overlay(commit->op.disk)->file,
		    commit->old_header + commit->header_len, commit->header_len,
		    commit->header_off);
	return submit_header(commit);
}

static enum step compare_header(struct commit *commit)
{
	const uint8_t *old = commit->old_header;

	commit->header_phase = HEADER_RESTORE;
	if (!old || !memcmp(old, old + commit->header_len, commit->header_len))
		commit->header_phase = HEADER_LINK_KEPT;
	return STEP_NEXT;
}

static enum step restore_header(struct commit *commit)
{
	commit->header_phase = HEADER_RESTORE_BARRIER;
	if (!commit->old_header)
		return STEP_NEXT;
	io_req_write(&commit->header, disk_overlay(commit->op.disk)->file, commit->old_header,
		     commit->header_len, commit->header_off);
	return submit_header(commit);
}

/* The new header was not written, or its barrier failed, and the old one is durable again. */
static enum step link_kept(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;
	struct op failed = commit->op;

	failed.error = commit->header_error;
	disk->link.leaving = false;
	if (!commit->barrier_failed && (err_cannot_grow(failed.error) || failed.error == -ENOMEM))
		disk->commits.last_hard = commit->number;
	else
		disk->poisoned = failed.error;
	job_fail_op(disk, &failed);
	commit_end(commit);
	return STEP_WAIT;
}

enum step commit_header_step(struct commit *commit)
{
	switch (commit->header_phase) {
	case HEADER_READ: return read_header(commit);
	case HEADER_WRITE: return write_header(commit);
	case HEADER_BARRIER: commit->header_phase = HEADER_LINK_GONE; return commit_barrier(commit);
	case HEADER_LINK_GONE: return link_gone(commit);
	case HEADER_LOOK_AT: return look_at_header(commit);
	case HEADER_COMPARE: return compare_header(commit);
	case HEADER_RESTORE: return restore_header(commit);
	case HEADER_RESTORE_BARRIER:
		commit->header_phase = HEADER_LINK_KEPT;
		return commit_barrier(commit);
	case HEADER_LINK_KEPT: return link_kept(commit);
	}
	abort();
}

bool commit_restore_header(struct commit *commit)
{
	struct op *op = &commit->op;

	if (!op->disk->link.leaving || commit->header_error)
		return false;
	commit->header_error = op->error;
	commit->barrier_failed = commit->header_phase == HEADER_LINK_GONE;
	commit->writing_lo = commit->writing_hi = 0;
	commit->header_phase = !commit->barrier_failed && err_cannot_grow(op->error)
				       ? HEADER_LOOK_AT
				       : HEADER_RESTORE;
	op->error = 0;
	op_ready(op);
	return true;
}

void commit_link_unknown(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;
	struct shown shown;

	disk->link.leaving = false;
	job_fail(disk, commit->header_error,
		 "%s: writing its header failed: %s, and so did putting the old one back: whether "
		 "it still names its backing file can't be known; it reads the same either way: "
		 "keep the backing files, and look after the device",
		 disk_show(disk, &shown), strerror(-commit->header_error));
}
