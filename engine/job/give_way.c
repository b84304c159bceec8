/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Takes the place of the share of the time that a job gives a guest (copy/window.c): runs go one at
 * a time still, without rests, and the limit follows what the guest sees. core/pace_guest.h
 * decides.
 */
#include "engine/job/give_way.h"

#include "engine/copy/walk.h"
#include "engine/core/disk.h"
#include "engine/core/latency.h"
#include "engine/core/loop.h"
#include "engine/core/pace_guest.h"
#include "io/base.h"
#include "io/scale.h"

#define SECOND_NS UINT64_C(1000000000)

/* A look takes in so many requests, or so much time and a few. */
#define MANY    200
#define FEW     20
#define SOON_NS (SECOND_NS / 5)
#define LATE_NS (1 * SECOND_NS)

void give_way_set(struct bpull_disk *disk, uint64_t p99_ns, uint64_t now_ns)
{
	struct job_give_way *way = &disk->job.pace.way;

	if (p99_ns == way->target_ns)
		return;
	*way = (struct job_give_way){ .target_ns = p99_ns, .looked_ns = now_ns };
	latency_start(&disk->guests.recent, p99_ns);
	disk->walk->how.by_latency = p99_ns;
	if (p99_ns) /* the first limit */
		pace_guest_step(&way->guest, &(struct pace_guest_look){
						     .min_rate = disk->job.pace.wish.min_rate });
}

void give_way_look(struct bpull_disk *disk, uint64_t done_bytes, uint64_t now_ns)
{
	struct job_give_way *way = &disk->job.pace.way;
	struct latency *recent = &disk->guests.recent;
	uint64_t ns = now_ns - way->looked_ns, rest;
	struct pace_guest_look look = { .target_ns = way->target_ns,
					.min_rate = disk->job.pace.wish.min_rate };

	if (!way->target_ns || ns < SOON_NS || (recent->n < MANY && ns < LATE_NS))
		return;
	if (recent->n >= FEW || !engine_guest_is_active(disk->engine)) {
		if (recent->n >= FEW)
			look.p99_ns = latency_permille(recent, 990);
		look.done_rate = done_bytes < way->done_bytes ? 0
							      : scale(done_bytes - way->done_bytes,
								      SECOND_NS, 0, ns, &rest);
		pace_guest_step(&way->guest, &look);
		way->p99_ns = look.p99_ns;
		latency_forget(recent);
	}
	way->looked_ns = now_ns;
	way->done_bytes = done_bytes;
}

uint64_t give_way_limit(const struct bpull_disk *disk, uint64_t limit)
{
	const struct job_give_way *way = &disk->job.pace.way;

	if (!way->target_ns || (limit && limit < way->guest.limit))
		return limit;
	return MAX(way->guest.limit, disk->job.pace.wish.min_rate);
}
