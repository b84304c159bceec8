/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See write_rig_commit.h. */
#include "tests/support/rigs/write_rig_commit.h"

#include <criterion/criterion.h>

#include "formats/core/layer_shared.h"
#include "formats/core/staged.h"
#include "formats/core/table_dirty.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/rigs/write_rig.h"

#define SETTLE_MAX 12 /* commits that closing may take */

static void barrier(struct write_rig *rig)
{
	cr_assert_eq(file_sync(rig->file), 0);
}

static void let_go(struct write_rig *rig, bool with_this)
{
	struct layer *layer = rig->layer;

	if (!layer_has_freed(layer) || rig->draining)
		return;
	cr_assert_eq(RIG_LOADED(rig->cache, WRITE_RIG_MAX_LOADS,
				layer_free_unreferenced(layer, with_this, &need)),
		     0);
	rig->draining = true;
	if (rig->auto_drain)
		write_rig_drain(rig);
}

void write_rig_drain(struct write_rig *rig)
{
	if (rig->draining && layer_take_freed(rig->layer)) {
		layer_discard_freed(rig->layer);
		layer_reuse_freed(rig->layer);
	}
	rig->draining = false;
}

void write_rig_commit(struct write_rig *rig, bool hard)
{
	struct layer *layer = rig->layer;
	struct staged staged = { 0 };

	cr_assert_eq(table_cache_stage(rig->cache, rig->file, &staged), 0);
	cr_assert_eq(layer_stage(layer, &staged), 0);
	if (rig->fault == RIG_FREED_TOO_EARLY)
		let_go(rig, true);
	if (rig->fault == RIG_ROOT_TOO_EARLY)
		rig_write_stages(&staged, STAGE_ROOT, STAGE_HEADER);
	rig_write_stages(&staged, STAGE_REFCOUNT, STAGE_REFTABLE);
	barrier(rig);
	let_go(rig, rig->fault == RIG_NO_DRAIN_BARRIER);
	if (staged.n[STAGE_REFTABLE]) {
		rig_write_stages(&staged, STAGE_REFTABLE, STAGE_TABLE);
		barrier(rig);
	}
	layer_reftable_durable(layer);
	rig_write_stages(&staged, STAGE_TABLE, STAGE_HEADER);
	if (!hard)
		return;
	barrier(rig);
	let_go(rig, true);
}

void write_rig_settle(struct write_rig *rig)
{
	const struct layer *layer = rig->layer;
	unsigned n = 0;

	do {
		cr_assert_lt(n++, SETTLE_MAX, "space that never comes back");
		write_rig_commit(rig, true);
		write_rig_drain(rig);
	} while (layer_has_freed(layer) || table_cache_dirty_len(rig->cache, rig->file));
}
