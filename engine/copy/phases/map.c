/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a run takes: as much of its range as the overlay still lacks and one plan holds. The rest
 * goes back to the walk.
 */
#include "engine/copy/phases/map.h"

#include <stddef.h>

#include "engine/copy/phases/clone.h"
#include "engine/copy/phases/space.h"
#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/plan.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/load.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/buf.h"

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

enum step copy_run_map(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	uint64_t backed_len = p->overlay->backed_len, at = p->guest_off + p->pieces.off;
	uint64_t end = MIN(p->guest_off + p->len, backed_len), unallocated;
	enum plan_action action;
	struct table_need need;
	int rc;

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
