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

#include <errno.h>
#include <stdlib.h>

#include "engine/commit/batch.h"
#include "engine/copy/down.h"
#include "engine/copy/phases/clone.h"
#include "engine/copy/phases/compress.h"
#include "engine/copy/phases/digest.h"
#include "engine/copy/phases/give_up.h"
#include "engine/copy/phases/read.h"
#include "engine/copy/phases/shared_read.h"
#include "engine/copy/phases/space.h"
#include "engine/copy/phases/write.h"
#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/left_out.h"
#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/readers.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/waits.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/copy/walk/writeback.h"
#include "engine/core/clock.h"
#include "engine/core/convoy.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/load.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/buf.h"
#include "io/file.h"

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

/* Takes the zeros that the cursor saw, if they are still there. Else the run ends, and the cursor
 * looks again. */
static enum step map_zero(struct copy_run *p, enum plan_action action, uint64_t len)
{
	p->len = action == PLAN_ZERO ? MIN(p->len, round_up(len, p->overlay->granule_len)) : 0;
	p->phase = COPY_RUN_OVER;
	if (!p->len)
		return STEP_NEXT;
	copy_run_mapped(p);
	p->phase = COPY_RUN_PUBLISH;
	op_set_error(&p->op, run_space_add_zero(p, p->guest_off, p->len), NULL, p->guest_off,
		     false);
	return STEP_NEXT;
}

/* At a low rate a large cluster takes long, so its written pieces count at once. */
static void tell_pieces(struct copy_run *p)
{
	uint64_t len = p->space.n_maps ? copy_run_guest_bytes(p, 0, p->pieces.off) : 0;

	if (p->kind == RUN_ON_READ || len <= p->pieces.told_len)
		return;
	p->walk->counts.copied += len - p->pieces.told_len;
	p->pieces.told_len = len;
}

static enum step map(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	uint64_t backed_len = p->overlay->backed_len, at = p->guest_off + p->pieces.off;
	uint64_t end = MIN(p->guest_off + p->len, backed_len), unallocated;
	enum plan_action action;
	struct table_need need;
	int rc;

	if (copy_run_goes_down(p))
		return down_map(p);
	tell_pieces(p);
	if (p->pieces.off)
		copy_run_paid_is_done(p);
	if (at >= backed_len) { /* pieces of the last cluster behind the disk's end */
		p->plan.len = p->piece_len;
		p->plan.guest_off = at;
		p->plan.n_parts = p->plan.data_len = 0;
		p->phase = copy_run_after_read(p);
		return STEP_NEXT;
	}
	rc = plan_next(disk->chain, at, end, &action, &unallocated, &need);
	/* A guest's write came before the run had its lock. Not so for a later piece of a large
	 * cluster: there only disks that end before it lack the cluster. */
	if (!rc && action == PLAN_PRESENT && !p->pieces.off) {
		p->len = round_up(unallocated, p->piece_len);
		copy_run_mapped(p);
		p->taken.is_done = true;
		p->phase = COPY_RUN_OVER;
		return STEP_NEXT;
	}
	if (!rc && p->kind == RUN_ZERO)
		return map_zero(p, action, unallocated);
	if (!rc && p->kind == RUN_CLONE)
		return copy_run_map_clone(p, action, unallocated);
	if (!rc)
		rc = plan_run(disk->chain, at, MIN(end, at + unallocated),
			      copy_run_in_pieces(p) ? p->piece_len : RUN_MAX_LEN, p->piece_len,
			      &p->plan, &need);
	if (rc == TABLE_NEED)
		return op_wait_table(&p->op, &need);
	if (rc) {
		op_set_error(&p->op, rc, NULL, at, true);
		return STEP_NEXT;
	}
	if (!copy_run_in_pieces(p))
		p->len = p->plan.len;
	if (!copy_run_in_pieces(p))
		p->buf = buf_shrink(disk->engine->bufs, p->buf, p->len);
	copy_run_mapped(p);
	p->phase = COPY_RUN_CHARGE;
	return STEP_NEXT;
}

/* ---- PUBLISH ---- */

/* Clones fill a batch, too, or a power cut would leak any amount of space. They count a sixteenth,
 * or barriers would take nearly all of the time. */
static uint64_t batch_len(const struct copy_run *p, const struct mapping *map)
{
	if (map->is_zero)
		return 0;
	return p->kind == RUN_CLONE ? map->len / 16 : map->len;
}

static void count_copied(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	const struct layer *overlay = p->overlay;
	struct copy_counts *counts = &p->walk->counts;
	bool is_first = p->walk->rounds.n == 1; /* a later walk reads them again */

	disk->since_opened.has_copied = true;
	for (size_t i = 0; i < p->space.n_maps; i++) {
		commit_note_published(disk, batch_len(p, &p->space.maps[i]));
		if (overlay->no_tables)
			proof_settle(disk, p->space.maps[i].guest_off,
				     p->space.maps[i].guest_off + p->space.maps[i].len);
	}
	if (p->kind == RUN_ON_READ)
		return;
	for (size_t i = 0; i < p->space.n_maps; i++)
		if (!p->space.maps[i].is_zero && p->kind != RUN_CLONE)
			writeback_note(disk, p->space.maps[i].host_off,
				       mapping_host_len(&p->space.maps[i]));
	counts->copied += p->counts.copied - p->pieces.told_len;
	counts->cloned += p->counts.cloned;
	p->pieces.told_len = 0;
	if (p->kind == RUN_ZERO && is_first)
		counts->skipped += MIN(p->len, overlay->backed_len - p->guest_off);
	if (is_first)
		counts->zero += p->counts.zero;
}

static enum step publish(struct copy_run *p)
{
	struct layer *overlay = p->overlay;
	struct file *data = overlay->data;
	int rc = p->op.disk->poisoned;

	for (size_t i = 0; i < p->space.n_maps; i++) {
		const struct mapping *map = &p->space.maps[i];

		if (map->is_zero)
			continue;
		data->len = MAX(data->len, map->host_off + disk_write_len(p->op.disk, map->host_off,
									  mapping_host_len(map)));
		disk_wrote(p->op.disk, DISK_DATA);
	}
	/* The data is written, not durable: a barrier must come before what points at it (I1). */
	if (p->space.n_maps)
		disk_wrote(p->op.disk, DISK_IMAGE);
	if (!rc)
		rc = copy_run_prepare_handing_over(p);
	if (!rc && p->space.n_maps)
		rc = layer_publish(overlay, p->space.maps, p->space.n_maps, &p->space.need);
	if (rc)
		return copy_run_retry_later(p, rc);
	copy_run_hand_over(p);
	count_copied(p);
	p->taken.is_done = true;
	p->phase = COPY_RUN_OVER;
	return STEP_NEXT;
}

static enum step copy_run_step(struct op *op)
{
	struct copy_run *p = copy_run_of(op);

	switch (p->phase) {
	case COPY_RUN_LOCK: return lock(p);
	case COPY_RUN_MAP: return map(p);
	case COPY_RUN_CHARGE: return copy_run_charge(p);
	case COPY_RUN_READ: return copy_run_read(p);
	case COPY_RUN_DECODE: return copy_run_decode(p);
	case COPY_RUN_SHARE: return shared_read_share(p);
	case COPY_RUN_COMPRESS: run_readers_serve(p); return copy_run_compress(p);
	case COPY_RUN_WRITE: run_readers_serve(p); return copy_run_write(p);
	case COPY_RUN_FILL: return copy_run_fill(p);
	case COPY_RUN_STORE: return down_store(p);
	case COPY_RUN_STORED: return down_stored(p);
	case COPY_RUN_CLONE: return copy_run_clone(p);
	case COPY_RUN_CLONED: return copy_run_cloned(p);
	case COPY_RUN_PUBLISH: return publish(p);
	case COPY_RUN_GIVE_UP: p->phase = COPY_RUN_GIVEN_UP; return run_give_up_discard(p);
	case COPY_RUN_GIVEN_UP: end_failed_run(p); return STEP_WAIT;
	case COPY_RUN_OVER: run_over(p); return STEP_WAIT;
	}
	abort();
}

const struct op_kind copy_run_kind = { "copy run", copy_run_step, copy_run_fail };
