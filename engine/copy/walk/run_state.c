/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the phases of a copy run share: its lock, its place in the walk, and what a phase does that
 * must wait for a table or a commit.
 */
#include "engine/copy/walk/run_state.h"

#include <stdlib.h>

#include "engine/commit/retry.h"
#include "engine/copy/walk/readers.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/core/ranges/range_set.h"
#include "engine/core/ranges/zero.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"

bool copy_run_keeps_zeros(const struct copy_run *p)
{
	return p->op.disk->base_name || (p->read.is_of_source && p->overlay->has_zero_entries);
}

bool copy_run_is_data(const struct copy_run *p, const uint8_t *bytes, uint32_t len)
{
	if (copy_run_keeps_zeros(p) && !p->overlay->has_zero_entries)
		return true;
	return !zero_is(bytes, len);
}

uint64_t copy_run_guest_bytes(const struct copy_run *p, uint64_t off, uint64_t len)
{
	uint64_t backed_len = p->overlay->backed_len, at = p->guest_off + off;

	return at >= backed_len ? 0 : MIN(len, backed_len - at);
}

enum step copy_run_retry_later(struct copy_run *p, int rc)
{
	return op_retry_later(&p->op, rc, &(struct retry){ .need = &p->space.need });
}

uint64_t copy_run_guest_off(const struct copy_run *run)
{
	return run->guest_off;
}

uint64_t copy_run_lock_len(const struct copy_run *p)
{
	return round_up(p->guest_off + p->len, p->overlay->cluster_len) - p->lock.guest_off;
}

struct run_list *copy_run_runs_of(const struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;

	return p->kind == RUN_ON_READ ? &disk->guests.runs_on_read : &disk->walk->runs;
}

enum copy_run_phase copy_run_after_read(const struct copy_run *p)
{
	if (copy_run_goes_down(p))
		return COPY_RUN_STORE;
	return p->compress.is_on ? COPY_RUN_COMPRESS : COPY_RUN_WRITE;
}

void copy_run_free_requests(struct copy_run *p)
{
	free(p->reqs);
	free(p->read.decodes);
	free(p->read.comp_buf);
	p->op.engine->comp_len -= p->read.comp_held;
	p->reqs = NULL;
	p->read.decodes = NULL;
	p->read.comp_buf = NULL;
	p->read.comp_held = 0;
}

void copy_run_put_back(struct copy_run *p, uint64_t from)
{
	if (p->kind == RUN_ON_READ || from >= p->taken.end)
		return;
	/* `todo` has had a range, so it has memory for one. */
	(void)range_set_add(&p->walk->todo, from, MIN(p->taken.end, p->overlay->backed_len));
	p->taken.end = from;
}

void copy_run_unlock(struct copy_run *p)
{
	range_lock_release(&p->op.disk->locks, &p->lock, op_granted);
	p->locked = false;
}

void copy_run_mapped(struct copy_run *p)
{
	struct bpull_disk *disk = p->op.disk;
	struct copy_walk *walk = p->walk;

	if (p->pieces.off)
		return;
	run_readers_trim(p);
	copy_run_put_back(p, p->guest_off + p->len);
	if (walk->mapping == p) {
		walk->mapping = NULL;
		cursor_kick(disk); /* all that has room begins in one round */
	}
	range_lock_shrink(&disk->locks, &p->lock, copy_run_lock_len(p), op_granted);
}
