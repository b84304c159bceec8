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
 *     file's, if there is one, completes before the image's is submitted.)
 * I2  A reference reaches the disk only after the refcount that covers it is
 *     durable; a refcount block before the refcount table's entry for it, a
 *     larger refcount table before the header that names it.
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
 *
 * A BARRIER is an fdatasync; it covers the writes completed before it was
 * submitted. Nothing else is assumed: any other write may be lost, kept or
 * torn at 512 bytes. Entries are 8 bytes and never straddle a sector.
 *
 * EPOCHS of batch n (states proven by enumeration, tests/test_crash.c):
 *
 *   write REFCOUNT(n): raised counts, new blocks, new tables no entry reaches
 *   [barrier of the data file]     only if there is one: makes DATA(n) durable
 *   barrier            also makes DATA(n), and TABLE and ROOT of n-1, durable
 *   [write REFTABLE(n), barrier]   only if a refcount block was added
 *   write TABLE(n), ROOT(n)        durable with the next barrier
 *   [barrier]                      hard commits only
 *   [write HEADER, barrier]        detach only, if the link may go (I8)
 *
 * So a long pull costs one barrier a batch while copying goes on beside it.
 * TABLE and ROOT may share an epoch because the table a root entry points at
 * was written whole, and flushed, with REFCOUNT; slices of it that come later
 * lie on space that reads as zeros, which means unallocated.
 * Ordering writes by dependency between cached tables, as QEMU does, was
 * rejected: it is right nowhere in particular and written down nowhere.
 */
#include "engine/commit.h"

#include <assert.h>
#include <errno.h>

#include "engine/engine.h"
#include "engine/job_stop.h"
#include "io/base.h"

/* A batch is committed this long after its first entry. */
#define COMMIT_NS UINT64_C(2000000000)

enum commit_phase {
	COMMIT_WRITE_REFCOUNT,
	COMMIT_DATA_BARRIER,
	COMMIT_BARRIER,
	COMMIT_LET_GO, /* what the last batch's entries let go is counted free */
	COMMIT_WRITE_REFTABLE,
	COMMIT_REFTABLE_BARRIER,
	COMMIT_WRITE_TABLES,
	COMMIT_LAST_BARRIER,
	COMMIT_READ_HEADER, /* the bytes that it has so far */
	COMMIT_WRITE_HEADER,
	COMMIT_HEADER_BARRIER,
	COMMIT_LINK_GONE,
	COMMIT_LOOK_AT_HEADER, /* for which there was no space: did anything of it come through? */
	COMMIT_COMPARE_HEADER,
	COMMIT_RESTORE_HEADER,
	COMMIT_RESTORE_BARRIER,
	COMMIT_LINK_KEPT,
	COMMIT_LET_GO_NOW, /* and what this one's did */
	COMMIT_DONE,
};

struct commit {
	struct op op;
	enum commit_kind kind;
	enum commit_phase phase;
	struct staged staged;
	enum stage writing_lo, writing_hi; /* stages whose writes are in flight: [lo, hi) */
	struct io_req *writes;
	struct io_req sync;
	/* What the header was: so many bytes at that place of the file, read before the new one is
	 * written, and room for as many again. NULL: there is none. */
	uint8_t *old_header;
	struct io_req header; /* reads it, or writes it back */
	uint64_t header_off, header_len;
	int header_error;    /* the new one's; the old one is written back */
	bool barrier_failed; /* that error is of the barrier behind it */
	bool synced;         /* a barrier was passed */
	bool stalled;        /* the writes found no space, and wait for commit_retry() */
	int stall_error;     /* or no memory: which */
	uint64_t number;     /* disk->n_commits_begun */
	struct table_need need;
};

static bool is_no_space(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
}

static void wake_waiters(struct bpull_disk *disk, int error)
{
	op_wake_all(&disk->commit_waiters, error, NULL, 0, false);
}

static void end(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;

	staged_clear(&commit->staged);
	free(commit->old_header);
	free(commit->writes);
	free(commit);
	disk->commit = NULL;
	wake_waiters(disk, disk->poisoned);
	engine_again(disk->engine);
}

/* Submits all writes of the stages [lo, hi); they may go in any order. */
static enum step write_stages(struct commit *commit, enum stage lo, enum stage hi)
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
	commit->op.disk->undurable = true;
	req = commit->writes;
	for (enum stage s = lo; s < hi; s++)
		for (struct staged_write *w = commit->staged.head[s]; w; w = w->next) {
			io_req_write(req, w->file, w->bytes, w->len, w->host_off);
			op_submit(&commit->op, req++);
		}
	return STEP_WAIT;
}

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

static enum step barrier(struct commit *commit)
{
	/* Writes that complete from here on are not covered. */
	commit->op.disk->undurable = false;
	commit->synced = true;
	io_req_sync(&commit->sync, disk_overlay(commit->op.disk)->file);
	op_submit(&commit->op, &commit->sync);
	return STEP_WAIT;
}

/* What was published by now was written by now; what comes later is for the next batch. */
static enum step data_barrier(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;

	if (!disk->data_undurable)
		return STEP_NEXT;
	disk->data_undurable = false;
	io_req_sync(&commit->sync, disk_overlay(disk)->data);
	op_submit(&commit->op, &commit->sync);
	return STEP_WAIT;
}

static bool is_hard(const struct commit *commit)
{
	return commit->kind != COMMIT_SOFT;
}

/* Entries on disk do not refer any more to what they replaced (I5): it is counted free, in the next
 * batch, and used again when those who may still read it have ended. One lot at a time. */
static enum step let_go(struct commit *commit, bool with_this)
{
	struct bpull_disk *disk = commit->op.disk;
	struct layer *overlay = disk_overlay(disk);

	if (!overlay->ops->has_freed || !overlay->ops->has_freed(overlay) || disk->guests.draining)
		return STEP_NEXT;
	if (overlay->ops->tables_durable(overlay, with_this, &commit->need) == TABLE_NEED)
		return op_wait_table(&commit->op, &commit->need);
	guest_begin_drain(disk);
	commit_note_published(disk, 0);
	return STEP_NEXT;
}

/* ---- the header (I3, I8) ---- */

/* The tables' commit goes on, the link stays. */
static enum step keep_link(struct commit *commit)
{
	commit->kind = COMMIT_HARD;
	commit->phase = COMMIT_LET_GO_NOW;
	return STEP_NEXT;
}

static enum step read_header(struct commit *commit)
{
	const struct staged_write *w = commit->staged.head[STAGE_HEADER];

	if (!job_may_drop_link(commit->op.disk))
		return keep_link(commit);
	commit->phase = COMMIT_WRITE_HEADER;
	if (!w) /* a new raw file has none */
		return STEP_NEXT;
	assert(!w->next);
	commit->header_off = w->host_off;
	commit->header_len = w->len;
	commit->old_header = calloc(2, w->len);
	if (!commit->old_header) {
		job_fail(commit->op.disk, -ENOMEM, "out of memory");
		return keep_link(commit);
	}
	io_req_read(&commit->header, w->file, commit->old_header, w->len, w->host_off);
	op_submit(&commit->op, &commit->header);
	return STEP_WAIT;
}

static enum step write_header(struct commit *commit)
{
	if (!job_may_drop_link(commit->op.disk))
		return keep_link(commit);
	commit->phase = COMMIT_HEADER_BARRIER;
	commit->op.disk->job.link_leaving = true;
	return write_stages(commit, STAGE_HEADER, N_STAGES);
}

static enum step look_at_header(struct commit *commit)
{
	commit->phase = COMMIT_COMPARE_HEADER;
	if (!commit->old_header)
		return STEP_NEXT;
	io_req_read(&commit->header, disk_overlay(commit->op.disk)->file,
		    commit->old_header + commit->header_len, commit->header_len,
		    commit->header_off);
	op_submit(&commit->op, &commit->header);
	return STEP_WAIT;
}

static enum step compare_header(struct commit *commit)
{
	const uint8_t *old = commit->old_header;

	commit->phase = COMMIT_RESTORE_HEADER;
	if (!old || !memcmp(old, old + commit->header_len, commit->header_len))
		commit->phase = COMMIT_LINK_KEPT;
	return STEP_NEXT;
}

static enum step restore_header(struct commit *commit)
{
	commit->phase = COMMIT_RESTORE_BARRIER;
	if (!commit->old_header)
		return STEP_NEXT;
	io_req_write(&commit->header, disk_overlay(commit->op.disk)->file, commit->old_header,
		     commit->header_len, commit->header_off);
	op_submit(&commit->op, &commit->header);
	return STEP_WAIT;
}

/* The new header was not written, or its barrier failed, and the old one is durable again. */
static enum step link_kept(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;
	struct op failed = commit->op;

	failed.error = commit->header_error;
	disk->job.link_leaving = false;
	if (!commit->barrier_failed && (is_no_space(failed.error) || failed.error == -ENOMEM))
		disk->hard_commit = commit->number;
	else
		disk->poisoned = failed.error;
	job_fail_op(disk, &failed);
	end(commit);
	return STEP_WAIT;
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
		return write_stages(commit, STAGE_REFCOUNT, STAGE_REFTABLE);
	case COMMIT_DATA_BARRIER: commit->phase = COMMIT_BARRIER; return data_barrier(commit);
	case COMMIT_BARRIER:
		commit->phase = COMMIT_LET_GO;
		return disk->undurable ? barrier(commit) : STEP_NEXT;
	case COMMIT_LET_GO:
		step = let_go(commit, false);
		if (step == STEP_NEXT)
			commit->phase = COMMIT_WRITE_REFTABLE;
		return step;
	case COMMIT_WRITE_REFTABLE:
		commit->phase = COMMIT_REFTABLE_BARRIER;
		if (!commit->staged.n[STAGE_REFTABLE])
			commit->phase = COMMIT_WRITE_TABLES;
		return write_stages(commit, STAGE_REFTABLE, STAGE_TABLE);
	case COMMIT_REFTABLE_BARRIER: commit->phase = COMMIT_WRITE_TABLES; return barrier(commit);
	case COMMIT_WRITE_TABLES:
		if (disk_overlay(disk)->ops->reftable_durable)
			disk_overlay(disk)->ops->reftable_durable(disk_overlay(disk));
		commit->phase = is_hard(commit) ? COMMIT_LAST_BARRIER : COMMIT_DONE;
		return write_stages(commit, STAGE_TABLE, STAGE_HEADER);
	case COMMIT_LAST_BARRIER:
		commit->phase =
			commit->kind == COMMIT_DETACH ? COMMIT_READ_HEADER : COMMIT_LET_GO_NOW;
		return disk->undurable ? barrier(commit) : STEP_NEXT;
	case COMMIT_READ_HEADER: return read_header(commit); /* I3 */
	case COMMIT_WRITE_HEADER: return write_header(commit);
	case COMMIT_HEADER_BARRIER: commit->phase = COMMIT_LINK_GONE; return barrier(commit);
	case COMMIT_LINK_GONE:
		disk->job.link_leaving = false;
		disk_link_changed(disk);
		commit->phase = COMMIT_LET_GO_NOW;
		return STEP_NEXT;
	case COMMIT_LOOK_AT_HEADER: return look_at_header(commit);
	case COMMIT_COMPARE_HEADER: return compare_header(commit);
	case COMMIT_RESTORE_HEADER: return restore_header(commit);
	case COMMIT_RESTORE_BARRIER: commit->phase = COMMIT_LINK_KEPT; return barrier(commit);
	case COMMIT_LINK_KEPT: return link_kept(commit);
	case COMMIT_LET_GO_NOW:
		step = let_go(commit, true);
		if (step == STEP_NEXT)
			commit->phase = COMMIT_DONE;
		return step;
	case COMMIT_DONE:
		if (is_hard(commit))
			disk->hard_commit = commit->number;
		disk->job.n.n_commits += commit->synced;
		end(commit);
		return STEP_WAIT;
	}
	abort();
}

/* A table write that found no space, or no memory for its requests, changed nothing that cannot be written
 * again. The job fails, or is stopped, and its runs give back what they took; then there is another try, and
 * one with each of the guest's flushes. */
static bool stall(struct commit *commit)
{
	struct op *op = &commit->op;
	bool was_begun = commit->writes;

	if (commit->writing_lo == commit->writing_hi || commit->writing_lo == STAGE_HEADER)
		return false;
	if (was_begun ? !is_no_space(op->error) : op->error != -ENOMEM)
		return false;
	if (op->disk->job.step != JOB_IDLE)
		job_fail_op(op->disk, op);
	wake_waiters(op->disk, op->error);
	commit->stall_error = op->error;
	op->error = 0;
	commit->stalled = true;
	free(commit->writes);
	commit->writes = NULL;
	return true;
}

/* What a commit reads it can do without: space that is let go waits for the next commit, and the link for
 * another try. */
static bool go_on_unread(struct commit *commit)
{
	struct op *op = &commit->op;

	if (!op->error_was_read || commit->writing_lo != commit->writing_hi)
		return false;
	if (commit->phase == COMMIT_LET_GO) {
		commit->phase = COMMIT_WRITE_REFTABLE;
	} else if (commit->phase == COMMIT_LET_GO_NOW) {
		commit->phase = COMMIT_DONE;
	} else if (commit->phase == COMMIT_WRITE_HEADER) {
		job_fail_op(op->disk, op);
		keep_link(commit);
	} else {
		return false;
	}
	op->error = 0;
	op_ready(op);
	return true;
}

/* I8: the write of the new header, or its barrier, failed. */
static bool begin_restoring(struct commit *commit)
{
	struct op *op = &commit->op;

	if (!op->disk->job.link_leaving || commit->header_error)
		return false;
	commit->header_error = op->error;
	commit->barrier_failed = commit->phase == COMMIT_LINK_GONE;
	commit->writing_lo = commit->writing_hi = 0;
	commit->phase = !commit->barrier_failed && is_no_space(op->error) ? COMMIT_LOOK_AT_HEADER
									  : COMMIT_RESTORE_HEADER;
	op->error = 0;
	op_ready(op);
	return true;
}

/* Neither the new header nor the old one could be written. Both lead to the same content. */
static void link_unknown(struct commit *commit)
{
	struct bpull_disk *disk = commit->op.disk;
	struct shown shown;

	disk->job.link_leaving = false;
	job_fail(disk, commit->header_error,
		 "%s: writing its header failed: %s, and so did putting the old one back: whether "
		 "it still names its backing file can't be known; it reads the same either way: "
		 "keep the backing files, and look after the device",
		 file_show(disk_overlay(disk)->file, &shown), strerror(-commit->header_error));
}

/* I7: what the page cache dropped can't be known, so nothing is written any more. */
static void commit_fail(struct op *op)
{
	struct commit *commit = (struct commit *)op;

	if (stall(commit) || go_on_unread(commit) || begin_restoring(commit)) {
		engine_again(op->engine);
		return;
	}
	op->disk->poisoned = commit->header_error ? commit->header_error : op->error;
	if (commit->header_error)
		link_unknown(commit);
	job_fail_op(op->disk, op);
	end(commit);
}

static const struct op_kind commit_kind = { "commit", commit_step, commit_fail };

/* I6: copies of everything changed, at one moment. */
static int stage_all(struct bpull_disk *disk, struct commit *commit)
{
	struct layer *overlay = disk_overlay(disk);
	int rc = table_cache_stage(overlay->cache, overlay->file, &commit->staged);

	if (!rc && overlay->ops->stage)
		rc = overlay->ops->stage(overlay, &commit->staged);
	if (!rc && commit->kind == COMMIT_DETACH)
		rc = overlay->ops->stage_link(overlay, &commit->staged);
	return rc;
}

void commit_begin(struct bpull_disk *disk, enum commit_kind kind)
{
	struct commit *commit;

	if (disk->commit || disk->poisoned)
		return;
	commit = calloc(1, sizeof(*commit));
	if (!commit) {
		job_fail(disk, -ENOMEM, "out of memory");
		return;
	}
	op_init(&commit->op, &commit_kind, disk->engine, disk);
	commit->kind = kind;
	commit->phase = COMMIT_WRITE_REFCOUNT;
	commit->number = ++disk->n_commits_begun;
	disk->commit = commit;
	disk->published_len = 0;
	disk->first_published_ns = 0;
	/* Tables half staged are lost to later commits: as bad as a failed write. */
	op_set_error(&commit->op, stage_all(disk, commit), NULL, 0, false);
	op_ready(&commit->op);
}

bool commit_is_due(const struct bpull_disk *disk, uint64_t now_ns)
{
	const struct bpull_engine *engine = disk->engine;

	if (disk->published_len >= engine->commit_len)
		return true;
	if (disk->first_published_ns && now_ns >= commit_due_ns(disk))
		return true;
	return table_cache_changed_len(engine->cache) >= engine->changed_len_limit / 2 &&
	       table_cache_dirty_len(engine->cache,
				     disk_overlay(disk)->file); /* looks at each table */
}

uint64_t commit_due_ns(const struct bpull_disk *disk)
{
	return disk->first_published_ns ? disk->first_published_ns + COMMIT_NS : UINT64_MAX;
}

bool commit_is_overdue(const struct bpull_disk *disk)
{
	return table_cache_changed_len(disk->engine->cache) > disk->engine->changed_len_limit;
}

void commit_note_published(struct bpull_disk *disk, uint64_t len)
{
	disk->published_len += len;
	if (!disk->first_published_ns)
		disk->first_published_ns = engine_now_ns();
}

bool commit_is_clean(const struct bpull_disk *disk)
{
	return !disk->commit && !disk->undurable && !disk->data_undurable && !disk->published_len &&
	       !table_cache_dirty_len(disk->engine->cache, disk_overlay(disk)->file);
}

bool commit_is_stalled(const struct bpull_disk *disk)
{
	return disk->commit && disk->commit->stalled;
}

void commit_retry(struct bpull_disk *disk)
{
	struct commit *commit = disk->commit;

	commit->stalled = false;
	if (write_stages(commit, commit->writing_lo, commit->writing_hi) == STEP_NEXT)
		op_ready(&commit->op);
}

int commit_stall_error(const struct bpull_disk *disk)
{
	return disk->commit->stall_error;
}

bool commit_revive(struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	if (commit_is_stalled(disk) &&
	    (job->step == JOB_IDLE || job_is_stopped(disk) || job->has_retried))
		commit_retry(disk);
	return !commit_is_stalled(disk);
}

bool commit_is_detaching(const struct bpull_disk *disk)
{
	return disk->commit && disk->commit->kind == COMMIT_DETACH;
}

void commit_keep_link(struct bpull_disk *disk)
{
	if (commit_is_detaching(disk) && !disk->job.link_leaving && !disk->job.link_changed)
		disk->commit->kind = COMMIT_HARD;
}

void commit_abandon(struct bpull_disk *disk)
{
	if (commit_is_stalled(disk))
		end(disk->commit);
}

bool commit_is_running(const struct bpull_disk *disk)
{
	return disk->commit != NULL;
}

void commit_wait(struct bpull_disk *disk, struct op *op)
{
	if (!disk->commit) {
		op_ready(op);
		return;
	}
	op_wait_in(&disk->commit_waiters, op);
}
