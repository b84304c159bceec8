/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An operation for each thing that a job does aside: begin() on the engine's thread, work() on a
 * worker, end() on the engine's thread again. Where no worker can be had, end() is told so.
 */
#include "engine/core/aside.h"

#include <assert.h>

#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/io.h"

static void aside_end(struct aside *aside, int rc)
{
	struct bpull_disk *disk = aside->op.disk;
	const struct aside_kind *kind = aside->kind;

	aside->rc = rc;
	aside->runs = false;
	aside->kind = NULL;
	if (kind->is_exclusive)
		disk_end_exclusive(disk);
	if (kind->end)
		kind->end(disk, rc, &aside->err);
	assert(aside->n_done < ASIDE_MAX_DONE);
	aside->done[aside->n_done++] = kind;
	engine_rerun(disk->engine);
}

static enum step aside_step(struct op *op)
{
	struct aside *aside = (struct aside *)op;

	aside_end(aside, aside->rc);
	return STEP_WAIT;
}

/* begin() failed, or there was no worker. */
static void aside_fail(struct op *op)
{
	aside_end((struct aside *)op, op->error);
}

static const struct op_kind aside_op_kind = { "aside", aside_step, aside_fail };

static int aside_work(struct io_req *req)
{
	struct aside *aside = req->owner;

	aside->rc = aside->kind->work(aside->op.disk, &aside->err);
	aside->was_run = true;
	return 0;
}

static void aside_start(struct bpull_disk *disk)
{
	struct aside *aside = &disk->aside;
	int rc = aside->kind->begin ? aside->kind->begin(disk) : 0;

	op_init(&aside->op, &aside_op_kind, disk->engine, disk);
	aside->runs = true;
	aside->was_run = false;
	aside->err = (struct err){ 0 };
	if (rc) {
		op_set_error(&aside->op, rc, NULL, 0, false);
		op_ready(&aside->op);
		engine_rerun(disk->engine);
		return;
	}
	io_req_work(&aside->req, aside_work);
	op_submit(&aside->op, &aside->req);
}

bool aside_do(struct bpull_disk *disk, const struct aside_kind *kind)
{
	struct aside *aside = &disk->aside;

	if (aside_is_done(disk, kind))
		return true;
	if (aside->runs)
		return false;
	/* An earlier work has ended disk.exclusive, also one that never began. */
	assert(!disk->exclusive || aside->kind);
	aside->kind = kind;
	/* No walk begins from now on. When the last one ends the job runs, and comes here again. */
	if (kind->is_exclusive)
		disk->exclusive = true;
	if (!kind->is_exclusive || !disk->n_walking)
		aside_start(disk);
	return false;
}

bool aside_is_done(const struct bpull_disk *disk, const struct aside_kind *kind)
{
	const struct aside *aside = &disk->aside;

	for (unsigned i = 0; i < aside->n_done; i++)
		if (aside->done[i] == kind)
			return true;
	return false;
}

bool aside_runs(const struct bpull_disk *disk)
{
	return disk->aside.runs;
}

void aside_begin_step(struct bpull_disk *disk)
{
	struct aside *aside = &disk->aside;

	/* Work that waits for walks to end has not begun: it is dropped. */
	if (aside->kind && !aside->runs) {
		if (aside->kind->is_exclusive)
			disk_end_exclusive(disk);
		aside->kind = NULL;
	}
	aside->n_done = 0;
}
