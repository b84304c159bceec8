/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The cursor: what to stream next. It walks the guest's disk once, passes over
 * what the overlay holds and what no layer holds without any I/O, and starts a
 * run for the rest as long as the window (one buffer a run) has room.
 *
 * What a walk has still to look at is a set, copy_walk.todo. The cursor takes ranges
 * from its front, or where the program wants it to begin (walk/first.h). A run takes
 * the range it was begun for out of the set, and puts back what it did not finish. A
 * number that says how far the cursor is was rejected: runs moved it back and forward
 * and overwrote each other's value.
 *
 * A proving walk reads the overlay's tables from disk again before the backing
 * link is dropped (walk/proof.h), and starts no run.
 *
 * A list of all runs made beforehand was rejected: it costs memory by the
 * image's size, and a guest's writes would make it stale.
 */
#include "engine/copy/cursor.h"

#include "engine/copy/down.h"
#include "engine/copy/phases/clone.h"
#include "engine/copy/start.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/first.h"
#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/load.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_set.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/buf.h"

/* Extents that the cursor looks at before other operations get their turn. */
#define MAX_EXTENTS_A_TURN 4096

/* Guest bytes that the overlay lacks, and that a proving walk looks at in one turn. */
#define PROVE_LEN (64 * MiB)

static int start_run(struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	void *buf = buf_get(disk->engine->bufs);
	uint64_t max_len = company_run_len(disk, guest_off, cursor_run_len(disk));
	int rc = copy_run_start(disk, guest_off, MIN(len, max_len), buf);

	if (rc)
		buf_put(disk->engine->bufs, buf);
	return rc;
}

/* Starts a run: one that shares the source file's blocks where it can, else one that copies. */
static int start_copy(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
		      struct table_need *need)
{
	struct extent e;
	int rc = copy_run_find_clone(disk, guest_off, len, &e, need);

	if (rc)
		return rc;
	return e.len ? copy_run_start_clone(disk, guest_off, e.len)
		     : start_run(disk, guest_off, len);
}

/* Nothing of [guest_off, guest_off + len) needs a run. */
static void pass(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, enum plan_action action)
{
	struct copy_walk *walk = disk->walk;

	range_set_remove(&walk->todo, guest_off, guest_off + len);
	/* A copying walk sees tables as they are in memory, which is no evidence. In a raw file
	 * that is flattened into there are none, and nothing better will come. */
	if (disk->job.step == JOB_PROVING || disk_overlay(disk)->no_tables)
		proof_settle(disk, guest_off, guest_off + len);
	if (disk->job.step == JOB_PROVING || walk->rounds.n != 1)
		return;
	if (action == PLAN_SKIP)
		walk->counts.skipped += len;
	else
		walk->counts.present += len;
}

static int prove(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, struct table_need *need)
{
	uint64_t done;
	int rc = proof_pass_lacking(disk, guest_off, MIN(len, PROVE_LEN), &done, need);

	range_set_remove(&disk->walk->todo, guest_off, guest_off + done);
	return rc;
}

/* The range that is to be looked at next, in whole granules: what the program wants first, or the
 * first range of `todo` from where the walk has begun on. */
static struct range next_range(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);
	const struct copy_down *down = &disk->walk->down;
	struct range next;

	if (disk->job.step != JOB_COPYING ||
	    !copy_first_next(&disk->walk->first, &disk->walk->todo, &next))
		next = range_set_from(&disk->walk->todo, disk->walk->company.begun.guest_off);
	/* A commit copies what the upper layers hold, by their granules and not the overlay's. */
	if (down->into)
		return (struct range){ next.lo, MIN(next.hi, down->end) };
	return (struct range){ round_down(next.lo, overlay->granule_len),
			       MIN(round_up(next.hi, overlay->granule_len), overlay->backed_len) };
}

/* Looks at the first extent of `next`. 0, TABLE_NEED or -errno. */
static int advance(struct bpull_disk *disk, struct range next, struct table_need *need)
{
	enum plan_action action;
	uint64_t len;
	bool is_down = disk->walk->down.into;
	int rc = is_down ? down_next(disk, next.lo, next.hi, &action, &len, need)
			 : plan_next(disk->chain, next.lo, next.hi, &action, &len, need);

	if (rc)
		return rc;
	if (action == PLAN_PRESENT || action == PLAN_SKIP) {
		pass(disk, next.lo, len, action);
		return 0;
	}
	if (disk->job.step == JOB_PROVING && is_down) { /* stays owed: one more copying walk */
		range_set_remove(&disk->walk->todo, next.lo, next.lo + len);
		return 0;
	}
	if (disk->job.step == JOB_PROVING)
		return prove(disk, next.lo, len, need);
	if (is_down && action == PLAN_COPY)
		return start_run(disk, next.lo, len);
	return action == PLAN_COPY ? start_copy(disk, next.lo, len, need)
				   : copy_run_start_zero(disk, next.lo, len);
}

static uint64_t todo_off(const struct bpull_disk *disk)
{
	const struct copy_walk *walk = disk->walk;

	return range_set_is_empty(&walk->todo)
		       ? disk_overlay(disk)->backed_len
		       : range_set_from(&walk->todo, walk->company.begun.guest_off).lo;
}

static enum step cursor_step(struct op *op)
{
	struct bpull_disk *disk = op->disk;
	unsigned n = 0;

	while (cursor_may_go(disk) && !range_set_is_empty(&disk->walk->todo)) {
		struct range next = next_range(disk);
		struct table_need need;
		int rc = advance(disk, next, &need);

		if (rc == TABLE_NEED) {
			load_ahead(disk, &need, next.lo);
			return op_wait_table(op, &need);
		}
		if (rc) {
			op_set_error(op, rc, NULL, next.lo, true);
			return STEP_NEXT;
		}
		if (++n == MAX_EXTENTS_A_TURN) {
			engine_rerun(disk->engine); /* job_run() kicks the cursor again */
			break;
		}
	}
	return STEP_WAIT;
}

static void cursor_fail(struct op *op)
{
	job_fail_op(op->disk, op);
}

static const struct op_kind cursor_kind = { "cursor", cursor_step, cursor_fail };

void cursor_start(struct bpull_disk *disk)
{
	struct copy_walk *walk = disk->walk;

	/* It can't fail: `todo` has had a range, so it has memory for one. */
	(void)range_set_copy(&walk->todo, &walk->owed);
	op_init(&walk->cursor, &cursor_kind, disk->engine, disk);
	op_ready(&walk->cursor);
}

void cursor_go_on(struct bpull_disk *disk)
{
	struct op *op = &disk->walk->cursor;

	/* A failed cursor is over as an operation. One that waits goes on by itself. */
	if (op->error && !op->n_pending && !op->queued)
		op_init(op, &cursor_kind, disk->engine, disk);
	engine_rerun(disk->engine);
}

bool cursor_is_done(const struct bpull_disk *disk)
{
	const struct copy_walk *walk = disk->walk;

	return range_set_is_empty(&walk->todo) && !walk->runs.first && !disk->n_background;
}

/* Runs are in guest order, except after ranges that the program wanted first. */
static uint64_t lowest_run(const struct copy_walk *walk)
{
	uint64_t at = UINT64_MAX;

	for (const struct copy_run *p = walk->runs.first; p;
	     p = walk->first.is_used ? p->next : NULL)
		at = MIN(at, copy_run_guest_off(p));
	return at;
}

uint64_t cursor_position(const struct bpull_disk *disk)
{
	uint64_t at = MIN(todo_off(disk), lowest_run(disk->walk));

	if (disk->walk->company.begun.lap || disk->walk->company.begun.guest_off)
		return company_walked_len(disk);
	return MAX(at, disk->walk->first.len);
}
