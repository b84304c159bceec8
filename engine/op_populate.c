/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Copying one run from the chain into the overlay:
 *
 *   LOCK -> MAP -> CHARGE -> READ -> DECODE [-> COMPRESS] -> WRITE -> PUBLISH -> over
 *
 * A run is many small clusters in one buffer, or one cluster larger than the
 * buffer in pieces (MAP..WRITE once a piece). It maps under its lock, so that
 * what was allocated meanwhile is never copied over; it reserves host space
 * only for clusters found to hold something, and publishes when all is
 * written (I1). Two operation kinds, one for large clusters, were rejected:
 * they differ in the loop around MAP..WRITE and in nothing else.
 */
#include <errno.h>

#include "engine/commit.h"
#include "engine/engine.h"
#include "engine/populate.h"
#include "io/base.h"

static void granted(void *owner)
{
	op_ready(owner);
}

static struct populate *populate_of(struct op *op)
{
	return (struct populate *)op;
}

uint64_t populate_guest_off(const struct populate *run)
{
	return run->guest_off;
}

/* ---- beginning and end ---- */

int populate_start(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *buf)
{
	struct job *job = &disk->job;
	struct populate *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	op_init(&p->op, &populate_kind, disk->engine, disk);
	p->guest_off = guest_off;
	p->cluster_len = disk_overlay(disk)->cluster_len;
	p->unit = MIN(p->cluster_len, (uint32_t)RUN_MAX_LEN);
	p->len = populate_in_pieces(p) ? p->cluster_len : round_up(len, p->cluster_len);
	p->buf = buf;
	populate_begin_compress(p);
	p->lock = (struct range_lock){ .guest_off = guest_off, .len = p->len, .owner = &p->op };
	p->prev = job->runs_last;
	if (job->runs_last)
		job->runs_last->next = p;
	else
		job->runs_first = p;
	job->runs_last = p;
	job->mapping = p;
	op_ready(&p->op);
	return 0;
}

enum populate_phase populate_after_read(const struct populate *p)
{
	return p->op.disk->job.compress ? POPULATE_COMPRESS : POPULATE_WRITE;
}

void populate_free_requests(struct populate *p)
{
	free(p->reqs);
	free(p->decodes);
	free(p->comp_buf);
	p->op.engine->comp_len -= p->comp_held;
	p->reqs = NULL;
	p->decodes = NULL;
	p->comp_buf = NULL;
	p->comp_held = 0;
}

static void over(struct populate *p)
{
	struct bpull_disk *disk = p->op.disk;
	struct job *job = &disk->job;

	if (job->mapping == p)
		job->mapping = NULL;
	if (p->locked)
		range_lock_release(&disk->locks, &p->lock, granted);
	*(p->prev ? &p->prev->next : &job->runs_first) = p->next;
	*(p->next ? &p->next->prev : &job->runs_last) = p->prev;
	populate_free_requests(p);
	populate_free_compress(p);
	buf_put(p->op.engine->bufs, p->buf);
	free(p->maps);
	free(p);
}

/* Space of the run that nothing refers to: on a full disk the tables of what was copied need it. A
 * poisoned disk is not touched any more (I7). */
static void give_up(struct populate *p, const struct mapping *map, uint64_t len)
{
	struct bpull_disk *disk = p->op.disk;
	struct layer *overlay = disk_overlay(disk);

	disk->job.abandoned_end = MAX(disk->job.abandoned_end, map->host_off + len);
	if (!disk->poisoned)
		file_discard(overlay->file, map->host_off, len);
	if (!map->comp_len)
		overlay->ops->release(overlay, map->host_off, map->len);
}

static void populate_fail(struct op *op)
{
	struct populate *p = populate_of(op);

	/* The latest first, so that the end of the file can fall back. */
	while (p->n_maps) {
		struct mapping first = p->maps[--p->n_maps];
		uint64_t len = mapping_host_len(&first);

		/* Compressed ones that lie behind each other as one: only whole pages are freed. */
		for (; first.comp_len && p->n_maps; first = p->maps[--p->n_maps]) {
			const struct mapping *map = &p->maps[p->n_maps - 1];

			if (!map->comp_len || map->host_off + map->comp_len != first.host_off)
				break;
			len += map->comp_len;
		}
		give_up(p, &first, len);
	}
	op->disk->job.given_up_off = MIN(op->disk->job.given_up_off, p->guest_off);
	if (op->error != -ECANCELED)
		job_fail_op(op->disk, op);
	over(p);
}

/* ---- LOCK, MAP ---- */

static enum step lock(struct populate *p)
{
	p->phase = POPULATE_MAP;
	p->locked = true;
	return range_lock_take(&p->op.disk->locks, &p->lock) ? STEP_NEXT : STEP_WAIT;
}

/* The cursor may look for the next run: this one knows where it ends. */
static void mapped(struct populate *p)
{
	struct bpull_disk *disk = p->op.disk;
	struct job *job = &disk->job;

	if (job->mapping != p)
		return;
	job->mapping = NULL;
	job->scan_off = MIN(p->guest_off + p->len, disk_overlay(disk)->guest_len);
	range_lock_shrink(&disk->locks, &p->lock, p->len, granted);
}

static enum step map(struct populate *p)
{
	struct bpull_disk *disk = p->op.disk;
	uint64_t guest_len = disk_overlay(disk)->guest_len, at = p->guest_off + p->piece_off;
	uint64_t end = MIN(p->guest_off + p->len, guest_len), unallocated;
	enum plan_action action;
	struct table_need need;
	int rc;

	if (at >= guest_len) { /* pieces of the last cluster behind the guest's end */
		p->plan.len = p->unit;
		p->plan.guest_off = at;
		p->plan.n_parts = p->plan.data_len = 0;
		p->phase = populate_after_read(p);
		return STEP_NEXT;
	}
	rc = plan_next(disk->chain, at, end, &action, &unallocated, &need);
	if (!rc && action == PLAN_PRESENT) { /* somebody was here before we had the lock */
		p->len = round_up(unallocated, p->unit);
		mapped(p);
		p->phase = POPULATE_OVER;
		return STEP_NEXT;
	}
	if (!rc)
		rc = plan_run(disk->chain, at, MIN(end, at + unallocated), RUN_MAX_LEN, p->unit,
			      &p->plan, &need);
	if (rc == TABLE_NEED)
		return op_wait_table(&p->op, &need);
	if (rc) {
		op_set_error(&p->op, rc, NULL, at, true);
		return STEP_NEXT;
	}
	if (!populate_in_pieces(p))
		p->len = p->plan.len;
	mapped(p);
	p->phase = POPULATE_CHARGE;
	return STEP_NEXT;
}

/* ---- PUBLISH ---- */

static void account(struct populate *p)
{
	struct bpull_disk *disk = p->op.disk;
	struct job *job = &disk->job;

	job->n.copied_bytes += p->copied_len;
	if (job->n_rounds == 1) /* a later walk reads them again */
		job->n.zero_bytes += p->zero_len;
	job->round_copied |= p->n_maps > 0;
	job->left_out_bytes += p->left_out_len;
	for (size_t i = 0; i < p->n_maps; i++)
		disk->published_len += p->maps[i].len;
	if (p->n_maps && !disk->first_published_ns)
		disk->first_published_ns = engine_now_ns();
}

static enum step publish(struct populate *p)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	int rc = p->op.disk->poisoned;

	for (size_t i = 0; i < p->n_maps; i++)
		overlay->file->len = MAX(overlay->file->len,
					 p->maps[i].host_off + mapping_host_len(&p->maps[i]));
	/* The data is written, not durable: a barrier must come before what points at it (I1). */
	if (p->n_maps)
		p->op.disk->undurable = true;
	if (!rc && p->n_maps)
		rc = overlay->ops->publish(overlay, p->maps, p->n_maps, &p->need);
	if (rc)
		return populate_hold(p, rc);
	account(p);
	p->phase = POPULATE_OVER;
	return STEP_NEXT;
}

static enum step populate_step(struct op *op)
{
	struct populate *p = populate_of(op);

	switch (p->phase) {
	case POPULATE_LOCK: return lock(p);
	case POPULATE_MAP: return map(p);
	case POPULATE_CHARGE: return populate_charge(p);
	case POPULATE_READ: return populate_read(p);
	case POPULATE_DECODE: return populate_decode(p);
	case POPULATE_COMPRESS: return populate_compress(p);
	case POPULATE_WRITE: return populate_write(p);
	case POPULATE_FILL: return populate_fill(p);
	case POPULATE_PUBLISH: return publish(p);
	case POPULATE_OVER: over(p); return STEP_WAIT;
	}
	abort();
}

const struct op_kind populate_kind = { "populate", populate_step, populate_fail };
