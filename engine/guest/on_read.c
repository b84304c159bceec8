/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What follows a guest's read. The copy run reads it again, because the guest may change its buffer
 * at once; the page cache still has it.
 */
#include "engine/guest/on_read.h"

#include "engine/copy/first.h"
#include "engine/copy/start.h"
#include "engine/copy/walk.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/range_set.h"
#include "engine/guest/neighbours.h"
#include "engine/guest/request.h"
#include "formats/core/layer.h"
#include "io/base.h"

void on_read_over(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	uint64_t lo = g->chain_read.below_lo, hi = g->chain_read.below_hi;
	struct range around;

	if (lo == hi || disk->poisoned || disk->guests.dropping || !g->overlay->has_backing)
		return;
	neighbours_note(disk, engine_now_ns() - g->began_ns);
	around = neighbours_around(disk, lo, hi);
	if (!atomic_load(&disk->guests.copy_on_read)) {
		/* A job that runs comes by here next. */
		if (around.hi - around.lo > hi - lo)
			copy_first_hint(&disk->walk->first, around);
		return;
	}
	if (disk->job.step == JOB_VERIFYING)
		return;
	copy_run_start_on_read(disk, lo, around.hi);
	if (around.lo < round_down(lo, g->overlay->granule_len))
		copy_run_start_on_read(disk, around.lo, round_down(lo, g->overlay->granule_len));
}
