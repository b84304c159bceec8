/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a base costs (a source, or a slow one), the read takes its bytes from a copy run that reads
 * whole clusters: they come once. Elsewhere the read goes first, straight into the guest's buffers,
 * and a run follows that reads it again, from the page cache: a guest that wants 4 KiB does not
 * wait for a cluster.
 */
#include "engine/guest/on_read.h"

#include "engine/copy/join.h"
#include "engine/copy/start.h"
#include "engine/copy/walk/first.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"
#include "engine/guest/chain_read.h"
#include "engine/guest/neighbours.h"
#include "engine/guest/request.h"
#include "formats/core/layer.h"
#include "io/base.h"

static bool may_copy(const struct bpull_disk *disk)
{
	return !disk->poisoned && !disk->guests.dropping && disk_overlay(disk)->has_backing;
}

static bool copies_begin(struct bpull_disk *disk)
{
	return may_copy(disk) && atomic_load(&disk->guests.copy_on_read) &&
	       disk->job.step != JOB_VERIFYING;
}

bool on_read_join(struct bpull_disk *disk, const struct layer *layer, struct run_reader *reader)
{
	if (!neighbours_is_slow(disk, layer))
		return false;
	return reader_join(disk, reader) || (copies_begin(disk) && reader_begin_run(disk, reader));
}

static void copy_around(struct bpull_disk *disk, const struct guest *g, struct range around)
{
	const struct range *below = &g->chain_read.below, *alone = &g->chain_read.alone;
	uint32_t granule_len = g->overlay->granule_len;
	uint64_t lo = round_down(below->lo, granule_len), hi = round_up(below->hi, granule_len);

	if (alone->lo == below->lo && alone->hi == below->hi) {
		lo = hi = round_down(below->lo, granule_len);
	} else if (alone->lo < alone->hi) {
		copy_run_start_on_read(disk, alone->lo, alone->hi);
	}
	copy_run_start_on_read(disk, hi, around.hi);
	copy_run_start_on_read(disk, around.lo, lo);
}

void on_read_over(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	uint64_t lo = g->chain_read.below.lo, hi = g->chain_read.below.hi;
	struct range around;

	if (lo == hi || !may_copy(disk))
		return;
	if (!g->chain_read.is_late)
		neighbours_note(disk, engine_now_ns() - g->began_ns);
	around = neighbours_around(disk, lo, hi);
	if (copies_begin(disk))
		copy_around(disk, g, around);
	/* Without copy-on-read, a job that runs copies the neighbourhood next. */
	else if (!atomic_load(&disk->guests.copy_on_read) && around.hi - around.lo > hi - lo)
		copy_first_hint(&disk->walk->first, around);
}
