/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Copying one run from the chain into the overlay:
 *
 *   LOCK -> MAP -> CHARGE -> READ -> DECODE [-> SHARE] [-> COMPRESS] -> WRITE [-> FILL]
 *             |                                                                -> PUBLISH -> OVER
 *             |\-> CLONE -> CLONED -----------------------------------------/
 *             \-> [CHARGE ... DECODE] -> STORE -> STORED -> OVER, into a lower image (down.h)
 *   failed, or a clone refused: GIVE_UP -> GIVEN_UP -> OVER
 *
 * docs/architecture.md, "The states of a copy run", lists what is held in each phase and what may
 * be trusted.
 *
 * A run is many small clusters in one buffer, or one cluster in pieces (MAP..WRITE once a piece)
 * when it is larger than the buffer or than a rate's share. It maps under its lock, so that what
 * was allocated meanwhile is never copied over; it reserves host space only for clusters found to
 * hold something, and publishes when all is written (I1). Two operation kinds, one for large
 * clusters, were rejected: they differ in the loop around MAP..WRITE and in nothing else.
 */
#include "engine/copy/run.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/copy/down.h"
#include "engine/copy/phases/clone.h"
#include "engine/copy/phases/compress.h"
#include "engine/copy/phases/digest.h"
#include "engine/copy/phases/give_up.h"
#include "engine/copy/phases/map.h"
#include "engine/copy/phases/publish.h"
#include "engine/copy/phases/read.h"
#include "engine/copy/phases/shared_read.h"
#include "engine/copy/phases/space.h"
#include "engine/copy/phases/write.h"
#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/left_out.h"
#include "engine/copy/walk/readers.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/waits.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "io/base.h"
#include "io/buf.h"

static struct copy_run *copy_run_of(struct op *op)
{
	return (struct copy_run *)op;
}

static void run_over(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	struct run_list *runs = copy_run_runs_of(p);

	if (!p->taken.is_done)
		copy_run_put_back(p, p->guest_off);
	else if (p->read.begun_ns)
		company_note_run(p->walk, p->read.begun_ns);
	if (p->walk->mapping == p)
		p->walk->mapping = NULL;
	copy_run_paid_is_done(p);
	if (p->locked)
		range_lock_release(&disk->locks, &p->lock, op_granted);
	*(p->prev ? &p->prev->next : &runs->first) = p->next;
	*(p->next ? &p->next->prev : &runs->last) = p->prev;
	runs->n--;
	run_goes_on(p); /* its read failed */
	if (p->kind == RUN_ON_READ)
		engine_rerun(disk->engine); /* layers may wait for it to be closed */
	else
		cursor_run_ends(disk, p);
	run_readers_pass(p);
	shared_read_end(p); /* a run that found no room to claim has not come to SHARE */
	copy_run_free_requests(p);
	copy_run_free_clones(p);
	copy_run_free_compress(p);
	copy_run_free_digests(p);
	if (p->buf)
		buf_put(p->op.engine->bufs, p->buf);
	run_space_free(p);
	free(p);
}

/* The job was resumed since the run was begun: it may have failed by then, of what the program has
 * mended since, and would stop the job again. It is put back, and the next try decides. */
static bool is_tried_again(const struct copy_run *p)
{
	return p->give_up.n_gone_on != p->op.disk->job.n_gone_on;
}

/* The engine called it off. A source may end a read with the same code: that is its error. */
static bool is_called_off(const struct op *op)
{
	return op->error == -ECANCELED && !op->error_file;
}

/* Its space is given back. */
static void end_failed_run(struct copy_run *p)
{
	struct op *op = &p->op;

	op->error = p->give_up.failed.error;
	op->error_file = p->give_up.failed.error_file;
	op->error_off = p->give_up.failed.error_off;
	op->error_was_read = p->give_up.failed.error_was_read;
	run_give_up_space(p);
	/* A copy that follows a read fails without a word: the cursor comes by later. */
	if (op->error && p->kind != RUN_ON_READ) {
		p->walk->counts.copied -= p->pieces.told_len;
		/* What is left out stays owed, and is not put back for this walk. */
		if (left_out_note(op->disk, op))
			p->taken.is_done = true;
		else if (is_tried_again(p))
			engine_rerun(op->engine);
		else if (!is_called_off(op))
			job_fail_op(op->disk, op);
	}
	run_over(p);
}

static void copy_run_fail(struct op *op)
{
	struct copy_run *p = copy_run_of(op);

	run_readers_fail(p);
	shared_read_end(p);
	if (p->phase != COPY_RUN_GIVEN_UP) { /* GIVEN_UP failing means that there was no worker */
		p->give_up.failed = *op;
		p->phase = COPY_RUN_GIVEN_UP;
		op->error = 0;
		if (run_give_up_discard(p) == STEP_WAIT)
			return;
	}
	end_failed_run(p);
}

static enum step lock(struct copy_run *p)
{
	p->phase = COPY_RUN_MAP;
	p->locked = true;
	if (range_lock_take(&p->op.disk->locks, &p->lock))
		return STEP_NEXT;
	run_readers_pass(p);
	return STEP_WAIT;
}

/* ---- the phases ---- */

static enum step map(struct copy_run *p)
{
	return copy_run_goes_down(p) ? down_map(p) : copy_run_map(p);
}

static enum step compress(struct copy_run *p)
{
	run_readers_serve(p);
	return copy_run_compress(p);
}

static enum step write_data(struct copy_run *p)
{
	run_readers_serve(p);
	return copy_run_write(p);
}

static enum step give_up(struct copy_run *p)
{
	p->phase = COPY_RUN_GIVEN_UP;
	return run_give_up_discard(p);
}

static enum step end_given_up_run(struct copy_run *p)
{
	end_failed_run(p);
	return STEP_WAIT;
}

static enum step end_run(struct copy_run *p)
{
	run_over(p);
	return STEP_WAIT;
}

/* has_lock: the run has its clusters when the phase begins. No guest and no other run changes them
 * then, so what was mapped is true. */
static const struct phase {
	enum step (*run)(struct copy_run *p);
	bool has_lock;
} phases[] = {
	[COPY_RUN_LOCK] = { lock },
	[COPY_RUN_MAP] = { map, .has_lock = true },
	[COPY_RUN_CHARGE] = { copy_run_charge, .has_lock = true },
	[COPY_RUN_READ] = { copy_run_read, .has_lock = true },
	[COPY_RUN_DECODE] = { copy_run_decode, .has_lock = true },
	[COPY_RUN_SHARE] = { shared_read_share, .has_lock = true },
	[COPY_RUN_COMPRESS] = { compress, .has_lock = true },
	[COPY_RUN_WRITE] = { write_data, .has_lock = true },
	[COPY_RUN_FILL] = { copy_run_fill, .has_lock = true },
	[COPY_RUN_STORE] = { down_store, .has_lock = true },
	[COPY_RUN_STORED] = { down_stored, .has_lock = true },
	[COPY_RUN_CLONE] = { copy_run_clone, .has_lock = true },
	[COPY_RUN_CLONED] = { copy_run_cloned, .has_lock = true },
	[COPY_RUN_PUBLISH] = { copy_run_publish, .has_lock = true },
	[COPY_RUN_GIVE_UP] = { give_up, .has_lock = true },
	[COPY_RUN_GIVEN_UP] = { end_given_up_run },
	[COPY_RUN_OVER] = { end_run },
};

static enum step copy_run_step(struct op *op)
{
	struct copy_run *p = copy_run_of(op);
	const struct phase *phase = &phases[p->phase];

	static_assert(ARRAY_LEN(phases) == COPY_RUN_OVER + 1, "each phase has a row");

	assert(!phase->has_lock || p->lock.held);
	return phase->run(p);
}

const struct op_kind copy_run_kind = { "copy run", copy_run_step, copy_run_fail };
