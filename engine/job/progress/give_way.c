/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Takes the place of the share of the time that a job gives a guest (copy/walk/window.c): runs go
 * one at a time still, without rests, and the limit follows what the guest sees.
 * core/rate/pace_guest.h decides.
 */
#include "engine/job/progress/give_way.h"

#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/rate/converge.h"
#include "engine/core/rate/latency.h"
#include "engine/core/rate/pace_guest.h"
#include "engine/guest/request.h"
#include "io/base.h"
#include "io/scale.h"

#define SECOND_NS UINT64_C(1000000000)

/* "Lately" is up to twice as long: some commits and write-backs are in it. */
#define HALF_NS (4 * SECOND_NS)

/* Of a limit's second: what may go at once is what a guest's request may wait behind. */
#define BURST_SHARE 50
#define LEAST_BURST (64 * KiB)

/* Of the disk that was opened, of which the job's may be a node. */
static struct latency *guests_latency(struct bpull_disk *disk)
{
	return &disk_opened(disk)->guests.recent;
}

void give_way_set(struct bpull_disk *disk, uint64_t p99_ns, uint64_t now_ns)
{
	struct job_give_way *way = &disk->job.pace.way;

	if (p99_ns == way->target_ns)
		return;
	*way = (struct job_give_way){ .target_ns = p99_ns,
				      .looked_ns = now_ns,
				      .forgot_ns = now_ns };
	latency_start(guests_latency(disk), p99_ns);
	disk->walk->how.by_latency = p99_ns;
	if (p99_ns) /* the first limit */
		pace_guest_step(&way->guest, &(struct pace_guest_look){
						     .min_rate = disk->job.pace.wish.min_rate });
}

/* What the next step is made of. False: the guest has been waiting since the last one, though not
 * for too long yet. */
static bool take_look(struct bpull_disk *disk, struct pace_guest_look *look, bool is_idle,
		      uint64_t now_ns)
{
	const struct job_give_way *way = &disk->job.pace.way;

	latency_take(guests_latency(disk), &look->n, &look->n_late);
	if (look->n || is_idle)
		return true;
	/* Nothing has ended: what is late is in flight. */
	look->n = look->n_late =
		guest_n_older(disk_opened(disk), now_ns - MIN(way->target_ns, now_ns));
	return look->n;
}

void give_way_look(struct bpull_disk *disk, uint64_t done_bytes, uint64_t now_ns)
{
	struct job_give_way *way = &disk->job.pace.way;
	struct latency *recent = guests_latency(disk);
	uint64_t ns = now_ns - way->looked_ns, rest;
	struct pace_guest_look look = { .min_rate = disk->job.pace.wish.min_rate };
	bool is_idle = !recent->n && !engine_guest_is_active(disk->engine);

	if (!way->target_ns || !pace_guest_is_due(ns, recent->n, is_idle))
		return;
	if (take_look(disk, &look, is_idle, now_ns)) {
		look.done_rate = done_bytes < way->done_bytes ? 0
							      : scale(done_bytes - way->done_bytes,
								      SECOND_NS, 0, ns, &rest);
		pace_guest_step(&way->guest, &look);
	}
	way->looked_ns = now_ns;
	way->done_bytes = done_bytes;
	way->p99_ns = latency_permille(recent, 990);
	if (now_ns - way->forgot_ns < HALF_NS)
		return;
	way->forgot_ns = now_ns;
	latency_forget(recent);
}

/* The guest is slowed to what the job copies (core/rate/converge.h): what waits for that is late,
 * and the less the job did the longer it would wait. */
static bool is_waited_for(const struct bpull_disk *disk)
{
	return converge_may_slow(&disk->job.down.converge);
}

uint64_t give_way_limit(const struct bpull_disk *disk, uint64_t limit)
{
	const struct job_give_way *way = &disk->job.pace.way;

	if (!way->target_ns || is_waited_for(disk) || (limit && limit < way->guest.limit))
		return limit;
	return MAX(way->guest.limit, disk->job.pace.wish.min_rate);
}

uint64_t give_way_burst(const struct bpull_disk *disk, uint64_t limit, uint64_t burst)
{
	uint64_t most = MAX(limit / BURST_SHARE, (uint64_t)LEAST_BURST);

	if (!disk->job.pace.way.target_ns || is_waited_for(disk))
		return burst;
	return burst ? MIN(burst, most) : most;
}
