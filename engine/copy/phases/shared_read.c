/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A run's part in what its convoy keeps. Before it reads, it looks for each of its ranges in the
 * set, and claims what it does not find there; when it has read, it fills what it claimed, and only
 * then waits for what it takes. So no run waits for one that waits itself.
 *
 * What is taken is copied into the run's own buffer. Writing to all overlays from one buffer was
 * rejected: a run pads, compresses and clears its buffer in place, and a copy costs a few percent
 * of the write that follows.
 */
#include "engine/copy/phases/shared_read.h"

#include <stdlib.h>
#include <string.h>

#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/convoy.h"
#include "engine/core/convoy_kept.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/kept.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"

/* How many ranges of kept bytes a run uses at most; the rest it reads for itself. */
#define MAX_RANGES 64

/* A range of the run's buffer, in order. */
struct shared_range {
	uint32_t off, len;
	const struct layer *layer;
	struct kept *kept; /* held by this range; NULL: not claimed yet, or filled */
	bool is_ours;      /* this run reads it, and claims it for others; else it is taken */
};

static struct kept_set *shared_kept(const struct copy_run *p)
{
	return &p->op.engine->convoys.kept;
}

void shared_read_end(struct copy_run *p)
{
	struct run_shared *shared = &p->read.shared;

	for (unsigned i = 0; i < shared->n; i++) {
		struct shared_range *r = &shared->ranges[i];

		if (!r->kept)
			continue;
		if (r->is_ours)
			kept_lose(shared_kept(p), r->kept);
		else
			kept_release(shared_kept(p), r->kept);
	}
	free(shared->ranges);
	shared->ranges = NULL;
	shared->n = shared->n_max = 0;
}

/* ---- READ ---- */

/* Adds the range, or makes the last one longer if it is of the same kept range. False: the run has
 * too many, or there is no memory. */
static bool add_range(struct copy_run *p, const struct shared_range *r)
{
	struct run_shared *shared = &p->read.shared;
	struct shared_range *last = shared->n ? &shared->ranges[shared->n - 1] : NULL;
	uint64_t at = p->plan.guest_off + r->off;

	if (last && last->off + last->len == r->off && last->layer == r->layer &&
	    last->kept == r->kept && last->is_ours == r->is_ours &&
	    (r->kept || !is_aligned(at, KEPT_MAX_LEN))) {
		last->len += r->len;
		return true;
	}
	if (shared->n == MAX_RANGES)
		return false;
	if (shared->n == shared->n_max) {
		unsigned n_max = shared->n_max ? MAX_RANGES : 4;
		struct shared_range *more =
			realloc(shared->ranges, n_max * sizeof(*shared->ranges));

		if (!more)
			return false;
		shared->ranges = more;
		shared->n_max = n_max;
	}
	if (r->kept)
		kept_hold(r->kept);
	shared->ranges[shared->n++] = *r;
	return true;
}

/* The run may take the kept range. Nothing shows that another program has written to a device, so a
 * job takes no bytes of a device that were read before the job began. And a disk with a guest does
 * not wait for another disk's read of a source: the guest's requests would wait longer than for
 * their own reads. */
static bool may_take(const struct copy_run *p, const struct shared_range *r)
{
	const struct file *data = r->layer->data;
	const struct bpull_disk *disk = p->op.disk;

	if (data->is_block && r->kept->claimed_ns < disk->job.start_ns)
		return false;
	return !(data->is_source && r->kept->state == KEPT_COMING &&
		 disk->flags & BPULL_DISK_GUEST_IO);
}

/* Looks for a part of the plan in the set. */
static void look_for(struct copy_run *p, struct plan_part *part)
{
	const struct layer *layer = p->op.disk->chain->layers[part->depth];
	uint32_t end = part->buf_off + part->len, fed_len = 0;
	bool claims = layer->n_users > 1 && convoy_is_shared(&p->walk->company.member);
	struct shared_range r = { .layer = layer };

	for (r.off = part->buf_off; r.off < end; r.off += r.len) {
		uint64_t at = p->plan.guest_off + r.off;
		uint64_t to =
			MIN(p->plan.guest_off + end, round_down(at, KEPT_MAX_LEN) + KEPT_MAX_LEN);

		r.kept = kept_find(shared_kept(p), layer->number, at, to);
		r.is_ours = !r.kept || r.kept->guest_off > at;
		if (r.is_ours && r.kept)
			to = r.kept->guest_off;
		if (!r.is_ours)
			to = MIN(to, r.kept->guest_off + r.kept->len);
		r.len = (uint32_t)(to - at);
		if (r.is_ours ? !claims : !may_take(p, &r))
			continue;
		r.kept = r.is_ours ? NULL : r.kept;
		if (!add_range(p, &r))
			return;
		fed_len += r.is_ours ? 0 : r.len;
	}
	/* A cluster that comes in several parts is decoded once for all of them. */
	part->is_fed = fed_len == part->len && !part->same && !part->is_repeat;
}

/* Claims the ranges that were not found in the set. Those for which there is no room are forgotten:
 * the run reads them for itself alone. */
static void claim(struct copy_run *p)
{
	struct run_shared *shared = &p->read.shared;
	uint64_t now_ns = engine_now_ns();
	unsigned n = 0;

	for (unsigned i = 0; i < shared->n; i++) {
		struct shared_range r = shared->ranges[i];

		if (r.is_ours && convoy_make_room(&p->op.engine->convoys, r.len))
			r.kept = kept_claim(shared_kept(p), r.layer->number,
					    p->plan.guest_off + r.off, r.len, now_ns);
		if (r.kept)
			shared->ranges[n++] = r;
	}
	shared->n = n;
}

unsigned shared_read_begin(struct copy_run *p)
{
	const struct convoys *convoys = &p->op.engine->convoys;
	const struct convoy_member *member = &p->walk->company.member;
	struct run_shared *shared = &p->read.shared;

	shared_read_end(p);
	for (unsigned i = 0; i < p->plan.n_parts; i++)
		p->plan.parts[i].is_fed = false;
	if (p->kind != RUN_COPY || shared->is_off || !convoy_is_fed(convoys, member))
		return 0;
	for (unsigned i = 0; i < p->plan.n_parts; i++)
		if (p->plan.parts[i].kind != EXTENT_ZERO)
			look_for(p, &p->plan.parts[i]);
	claim(p);
	return shared->n;
}

bool shared_read_is_fed(const struct copy_run *p, uint32_t at, uint32_t end, uint32_t *len)
{
	const struct run_shared *shared = &p->read.shared;

	*len = end - at;
	for (unsigned i = 0; i < shared->n; i++) {
		const struct shared_range *r = &shared->ranges[i];

		if (r->is_ours || r->off + r->len <= at)
			continue;
		if (r->off > at) {
			*len = MIN(*len, r->off - at);
			return false;
		}
		*len = MIN(*len, r->off + r->len - at);
		return true;
	}
	return false;
}

uint64_t shared_read_fed_len(const struct copy_run *p)
{
	const struct run_shared *shared = &p->read.shared;
	uint64_t len = 0;

	for (unsigned i = 0; i < shared->n; i++)
		len += shared->ranges[i].is_ours ? 0 : shared->ranges[i].len;
	return len;
}

/* ---- SHARE ---- */

static void fill_claims(struct copy_run *p)
{
	struct run_shared *shared = &p->read.shared;

	for (unsigned i = 0; i < shared->n; i++) {
		struct shared_range *r = &shared->ranges[i];

		if (!r->is_ours || !r->kept)
			continue;
		kept_fill(shared_kept(p), r->kept, p->buf + r->off);
		r->kept = NULL;
	}
}

static void take(struct copy_run *p)
{
	const struct run_shared *shared = &p->read.shared;

	for (unsigned i = 0; i < shared->n; i++) {
		const struct shared_range *r = &shared->ranges[i];
		uint64_t at = p->plan.guest_off + r->off;

		if (r->is_ours)
			continue;
		memcpy(p->buf + r->off, r->kept->bytes + (at - r->kept->guest_off), r->len);
		job_note_back(p->op.disk, r->layer->data); /* another's read has shown it */
	}
}

enum step shared_read_share(struct copy_run *p)
{
	struct run_shared *shared = &p->read.shared;

	fill_claims(p);
	for (unsigned i = 0; i < shared->n; i++) {
		struct shared_range *r = &shared->ranges[i];

		if (r->is_ours)
			continue;
		if (r->kept->state == KEPT_COMING) { /* one after the other; then this again */
			op_wait_in(&r->kept->waiters, &p->op);
			return STEP_WAIT;
		}
		shared->is_off |= r->kept->state == KEPT_LOST;
	}
	if (!shared->is_off) {
		take(p);
		p->walk->counts.shared += shared_read_fed_len(p);
	}
	p->phase = shared->is_off ? COPY_RUN_READ : copy_run_after_read(p);
	shared_read_end(p);
	return STEP_NEXT;
}

bool shared_read_awaits(const struct copy_run *p)
{
	for (unsigned i = 0; p && i < p->read.shared.n; i++) {
		const struct kept *kept = p->read.shared.ranges[i].kept;

		if (kept && kept->state == KEPT_COMING) /* NULL: it was ours, and filled */
			return true;
	}
	return false;
}
