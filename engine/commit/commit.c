/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Group commit: the one place that knows in which order things become durable.
 *
 *   DATA -> REFCOUNT -> REFTABLE -> TABLE (L2), ROOT (L1) -> HEADER
 *
 * All but DATA are in the image's file. DATA is in the overlay's data file where
 * it has one, which knows nothing of the image's barriers and has its own.
 *
 * INVARIANTS (tests and commit messages cite them by number)
 *
 * I1  A table entry reaches the disk only after the data it points at is
 *     durable. (An operation publishes after its data write completed; a batch
 *     is staged after that; its barriers are submitted after staging: the data
 *     file's, if there is one, completes before the image's is submitted.
 *     disk_wrote() alone says that a barrier is due.)
 * I2  A reference reaches the disk only after the refcount that covers it is
 *     durable; a refcount block before the refcount table's entry for it, a
 *     larger refcount table, or L1 table, before the header that names it.
 * I3  The backing link is dropped only after every table that replaces it is
 *     durable.
 * I4  COMPLETED is reported only after the header without the link is durable,
 *     FAILED and CANCELED only while the header with it is.
 * I5  Host space is reused only after the reference that freed it is durable
 *     and reads in flight have drained.
 * I6  A commit writes the tables as they stood when it began: an entry
 *     published during its barrier belongs to the next one.
 * I7  After a failed barrier or table write nothing is retried: the disk
 *     refuses further writes and says so. (Two things are no such failure: a
 *     write that found no space changed nothing, and is tried again when there
 *     may be some; and the old header is put back over one that failed.)
 * I8  The point of no return is the header's write: asked for when all else is
 *     durable, after the last look at the job and at the backing files. If it
 *     or its barrier fails, the bytes that it replaced are written back, with
 *     a barrier of their own: all other writes were durable before.
 * I9  A disk gets another image on top only when all that was written to the
 *     one before is durable, and the new one's content, link and name are. (Its
 *     barriers are of the new image's file from then on: api/snapshot.c.)
 *
 * A BARRIER is an fdatasync; it covers the writes completed before it was
 * submitted. Nothing else is assumed: any other write may be lost, kept or
 * torn at 512 bytes. Entries are 8 bytes and never straddle a sector.
 *
 * EPOCHS of batch n (states proven by enumeration, tests/whole/test_crash.c), by phase:
 *
 *   WRITE_REFCOUNT      writes REFCOUNT(n): raised counts, new blocks, new tables no entry reaches
 *   [DATA_BARRIER]      of the data file, only if there is one: makes DATA(n) durable
 *   BARRIER             also makes DATA(n), and TABLE and ROOT of n-1, durable
 *   LET_GO              what the entries of n-1 replaced is counted free, in memory (I5)
 *   [WRITE_REFTABLE, REFTABLE_BARRIER]   only if a refcount block was added, or the disk grows
 *   WRITE_TABLES        writes TABLE(n), ROOT(n): durable with the next barrier; a new link's name
 *                       with them
 *   [LAST_BARRIER]      hard commits only
 *   [HEADER]            detach only: writes HEADER, and a barrier, if the link may go (I8)
 *   [LET_GO_NOW]        hard commits only: what the entries of n replaced is counted free
 *   DONE
 *
 * docs/architecture.md, "The states of a commit", lists what is held in each phase and what may be
 * trusted.
 *
 * So a long pull costs one barrier a batch while copying goes on beside it.
 * TABLE and ROOT may share an epoch because the table a root entry points at
 * was written whole, and flushed, with REFCOUNT; slices of it that come later
 * lie on space that reads as zeros, which means unallocated.
 * Ordering writes by dependency between cached tables, as QEMU does, was
 * rejected: it is right nowhere in particular and written down nowhere.
 */
#include "engine/commit/commit.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/commit/batch.h"
#include "engine/commit/header.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/load.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/layer_header.h"
#include "formats/core/layer_resize.h"
#include "formats/core/layer_shared.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/io.h"

/* The writes submitted last have completed. */
static void retire_writes(struct commit *commit)
{
	for (enum stage s = commit->writing_lo; s < commit->writing_hi; s++) {
		while (commit->staged.head[s]) {
			struct staged_write *w = commit->staged.head[s];
			struct file *file = w->file;

			file->len = MAX(file->len, w->host_off + w->len);
			commit->staged.head[s] = w->next;
			staged_write_done(w);
		}
		commit->staged.n[s] = 0;
	}
	commit->writing_lo = commit->writing_hi = 0;
	free(commit->writes);
	commit->writes = NULL;
}

/* The data of all that was published so far is written; what is written later belongs to the next
 * batch. */
static enum step data_barrier(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;

	if (!disk->commits.data_undurable)
		return STEP_NEXT;
	disk->commits.data_undurable = false;
	io_req_sync(&commit->sync, disk_overlay(disk)->data);
	op_submit(&commit->op, &commit->sync);
	return STEP_WAIT;
}

static bool is_hard(const struct commit *commit)
{
	return commit->kind != COMMIT_SOFT;
}

/* Entries on disk do not refer any more to the space that they replaced (I5): counts it free, which
 * the next batch makes durable. It is used again when the requests that may still read it have
 * ended. While an earlier lot waits for that, nothing more is let go. with_this: also what this
 * batch's entries replaced. */
static enum step let_go(struct commit *commit, bool with_this)
{
	struct bpull_disk *disk = commit->op.disk;
	struct layer *overlay = disk_overlay(disk);

	if (!layer_has_freed(overlay) || disk->guests.draining)
		return STEP_NEXT;
	if (layer_free_unreferenced(overlay, with_this, &commit->need) == TABLE_NEED)
		return op_wait_table(&commit->op, &commit->need);
	disk->guests.draining = true; /* until guest_run() sees that those requests have ended */
	disk->guests.drain_seq = disk->guests.next_seq;
	disk->guests.drain_seq_above = disk_opened(disk)->guests.next_seq;
	commit_note_published(disk, 0);
	return STEP_NEXT;
}

static enum step commit_step(struct op *op)
{
	struct commit *commit = (struct commit *)op;
	struct bpull_disk *disk = op->disk;
	enum step step;

	retire_writes(commit);
	switch (commit->phase) {
	case COMMIT_WRITE_REFCOUNT:
		commit->phase = COMMIT_DATA_BARRIER;
		return commit_write_stages(commit, STAGE_REFCOUNT, STAGE_REFTABLE);
	case COMMIT_DATA_BARRIER: commit->phase = COMMIT_BARRIER; return data_barrier(commit);
	case COMMIT_BARRIER:
		commit->phase = COMMIT_LET_GO;
		return disk->commits.undurable ? commit_barrier(commit) : STEP_NEXT;
	case COMMIT_LET_GO:
		step = let_go(commit, false);
		if (step == STEP_NEXT)
			commit->phase = COMMIT_WRITE_REFTABLE;
		return step;
	case COMMIT_WRITE_REFTABLE:
		commit->phase = COMMIT_REFTABLE_BARRIER;
		if (!commit->staged.n[STAGE_REFTABLE])
			commit->phase = COMMIT_WRITE_TABLES;
		return commit_write_stages(commit, STAGE_REFTABLE, STAGE_TABLE);
	case COMMIT_REFTABLE_BARRIER:
		commit->phase = COMMIT_WRITE_TABLES;
		return commit_barrier(commit);
	case COMMIT_WRITE_TABLES:
		layer_reftable_durable(disk_overlay(disk));
		commit->phase = is_hard(commit) ? COMMIT_LAST_BARRIER : COMMIT_DONE;
		return commit_write_stages(commit, STAGE_TABLE, STAGE_HEADER);
	case COMMIT_LAST_BARRIER:
		commit->phase = commit->kind == COMMIT_DETACH ? COMMIT_HEADER : COMMIT_LET_GO_NOW;
		return disk->commits.undurable ? commit_barrier(commit) : STEP_NEXT;
	case COMMIT_HEADER: return commit_header_step(commit);
	case COMMIT_LET_GO_NOW:
		step = let_go(commit, true);
		if (step == STEP_NEXT)
			commit->phase = COMMIT_DONE;
		return step;
	case COMMIT_DONE:
		if (is_hard(commit))
			disk->commits.last_hard = commit->number;
		disk->commits.n_synced += commit->synced;
		commit_end(commit);
		return STEP_WAIT;
	}
	abort();
}

/* The commit was to drop the link, and will not: takes its writes of the link out of it. When the
 * commit is tried again, the link that it was to write may be another job's. */
static void drop_link_writes(struct commit *commit)
{
	staged_clear_stage(&commit->staged, STAGE_NAME);
	staged_clear_stage(&commit->staged, STAGE_HEADER);
}

/* A commit that found no space makes the job fail or stop. Not once the link is gone, when the
 * commit is only the guest's. Nor if the job was resumed since the writes were begun: they are
 * tried again, since the program may have mended what they failed of. */
static bool is_jobs_failure(const struct commit *commit)
{
	const struct bpull_disk *disk = commit->op.disk;

	return disk->job.step != JOB_IDLE && !disk->link.changed &&
	       commit->n_gone_on == disk->job.n_gone_on;
}

/* A table write that found no space, or no memory for its requests, changed nothing that cannot be
 * written again. The job fails, or is stopped, and its runs give back what they took; then there is
 * another try, and one with each of the guest's flushes. */
static bool stall(struct commit *commit)
{
	struct op *op = &commit->op;
	bool was_begun = commit->writes;

	if (commit->writing_lo == commit->writing_hi || commit->writing_lo == STAGE_HEADER)
		return false;
	if (was_begun ? !err_cannot_grow(op->error) : op->error != -ENOMEM)
		return false;
	if (commit->kind != COMMIT_DETACH)
		drop_link_writes(commit);
	if (is_jobs_failure(commit))
		job_fail_op(op->disk, op);
	/* A resize that waits is woken with the error, and the disk stays as long as it was. */
	if (op->disk->guests.is_growing)
		layer_keep_len(disk_overlay(op->disk), op->disk->guests.len, &commit->staged);
	commit_wake_waiters(op->disk, op->error);
	commit->stall_error = op->error;
	op->error = 0;
	commit->stalled = true;
	free(commit->writes);
	commit->writes = NULL;
	return true;
}

/* A read failed that the commit can do without: space that was to be let go waits for the next
 * commit, or the link stays for now. */
static bool go_on_unread(struct commit *commit)
{
	struct op *op = &commit->op;

	if (!op->error_was_read || commit->writing_lo != commit->writing_hi)
		return false;
	if (commit->phase == COMMIT_LET_GO) {
		commit->phase = COMMIT_WRITE_REFTABLE;
	} else if (commit->phase == COMMIT_LET_GO_NOW) {
		commit->phase = COMMIT_DONE;
	} else if (commit->phase == COMMIT_HEADER && commit->header_phase == HEADER_WRITE) {
		job_fail_op(op->disk, op);
		commit_go_on_with_link(commit);
	} else {
		return false;
	}
	op->error = 0;
	op_ready(op);
	return true;
}

/* I7: what the page cache dropped can't be known, so nothing is written any more. */
static void commit_fail(struct op *op)
{
	struct commit *commit = (struct commit *)op;

	if (stall(commit) || go_on_unread(commit) || commit_restore_header(commit)) {
		engine_rerun(op->engine);
		return;
	}
	op->disk->poisoned = commit->header_error ? commit->header_error : op->error;
	if (commit->header_error)
		commit_link_unknown(commit);
	job_fail_op(op->disk, op);
	commit_end(commit);
}

static const struct op_kind commit_kind = { "commit", commit_step, commit_fail };

/* I6: copies of everything changed, at one moment. */
static int stage_all(struct bpull_disk *disk, struct commit *commit)
{
	struct layer *overlay = disk_overlay(disk);
	int rc = table_cache_stage(overlay->cache, overlay->file, &commit->staged);

	if (!rc)
		rc = layer_stage(overlay, &commit->staged);
	if (!rc)
		rc = layer_stage_len(overlay, &commit->staged);
	if (!rc && commit->kind == COMMIT_DETACH)
		rc = layer_stage_link(overlay, &commit->staged);
	return rc;
}

void commit_begin(struct bpull_disk *disk, enum commit_kind kind)
{
	struct commit *commit;

	if (disk->commits.in_flight || disk->poisoned || disk->commits.held)
		return;
	commit = calloc(1, sizeof(*commit));
	if (!commit) {
		job_fail(disk_with_job(disk), -ENOMEM, "out of memory");
		return;
	}
	op_init(&commit->op, &commit_kind, disk->engine, disk);
	commit->kind = kind;
	commit->phase = COMMIT_WRITE_REFCOUNT;
	commit->number = ++disk->commits.n_begun;
	commit->n_gone_on = disk->job.n_gone_on;
	disk->commits.in_flight = commit;
	disk->commits.published_len = 0;
	disk->commits.first_published_ns = 0;
	/* Tables half staged are lost to later commits: as bad as a failed write. */
	op_set_error(&commit->op, stage_all(disk, commit), NULL, 0, false);
	op_ready(&commit->op);
}

void commit_retry(struct bpull_disk *disk)
{
	struct commit *commit = disk->commits.in_flight;

	if (!commit_is_stalled(disk))
		return;
	commit->stalled = false;
	commit->n_gone_on = disk->job.n_gone_on;
	if (commit_write_stages(commit, commit->writing_lo, commit->writing_hi) == STEP_NEXT)
		op_ready(&commit->op);
}

int commit_stall_error(const struct bpull_disk *disk)
{
	return disk->commits.in_flight->stall_error;
}

bool commit_revive(struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	/* The header is being written by itself (mixed.c); the job's end tries again. */
	if (disk->aside.runs && disk->exclusive)
		return true;
	if (commit_is_stalled(disk) &&
	    (job->step == JOB_IDLE || job_is_stopped(disk) || job->has_retried))
		commit_retry(disk);
	return !commit_is_stalled(disk);
}

bool commit_is_detaching(const struct bpull_disk *disk)
{
	return disk->commits.in_flight && disk->commits.in_flight->kind == COMMIT_DETACH;
}

void commit_keep_link(struct bpull_disk *disk)
{
	struct commit *commit = disk->commits.in_flight;

	if (!commit_is_detaching(disk) || disk->link.leaving || disk->link.changed)
		return;
	commit->kind = COMMIT_HARD;
	if (commit->stalled)
		drop_link_writes(commit);
}

bool commit_await(struct bpull_disk *disk, enum commit_kind kind, struct op *op)
{
	commit_begin(disk, kind);
	if (!disk->commits.in_flight && !disk->commits.held)
		return false;
	op_wait_in(&disk->commits.waiters, op);
	return true;
}

void commit_wait(struct bpull_disk *disk, struct op *op)
{
	if (!disk->commits.in_flight) {
		op_ready(op);
		return;
	}
	op_wait_in(&disk->commits.waiters, op);
}
