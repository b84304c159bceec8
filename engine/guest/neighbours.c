/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How slow a base is is measured: by the mean time of the last few reads that a
 * guest has waited for. Copying the neighbourhood saves a later round trip, so a
 * base is slow if a round trip takes longer than moving the neighbourhood.
 *
 * The neighbourhood is aligned, and a power of two. So it never reaches into another
 * one of the chunks that a source may have to read as a whole (4 MiB, say).
 */
#include "engine/guest/neighbours.h"

#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"

#define NEIGHBOURS_LEN (256 * KiB)
#define SLOW_NS        UINT64_C(4000000)
#define MEAN_OF        4u

void neighbours_note(struct bpull_disk *disk, uint64_t took_ns)
{
	struct guests *all = &disk->guests;

	all->below_ns =
		all->below_ns ? (all->below_ns * (MEAN_OF - 1) + took_ns) / MEAN_OF : took_ns;
}

struct range neighbours_around(const struct bpull_disk *disk, uint64_t lo, uint64_t hi)
{
	uint64_t end = MIN(round_up(hi, NEIGHBOURS_LEN), disk_overlay(disk)->backed_len);

	if (disk->guests.below_ns < SLOW_NS || end < hi)
		return (struct range){ lo, hi };
	return (struct range){ round_down(lo, NEIGHBOURS_LEN), end };
}

bool neighbours_is_slow(const struct bpull_disk *disk, const struct layer *layer)
{
	return layer_is_of_source(layer) || disk->guests.below_ns >= SLOW_NS;
}
