/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Ten times a second a job that has a deadline or a least rate looks how far it is and sets its own
 * limit: core/rate/pace.h decides. Between two looks the limiter does the rest.
 */
#include "engine/job/progress/pace.h"

#include <stdbool.h>

#include "engine/blockpull.h"
#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/requests.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/rate/limiter.h"
#include "engine/core/rate/pace.h"
#include "engine/job/progress/give_way.h"
#include "engine/job/progress/left.h"
#include "io/base.h"

#define LOOK_NS (100 * UINT64_C(1000000))

static bool is_on(const struct job *job)
{
	return job->pace.wish.deadline_ns || job->pace.wish.min_rate || job->pace.way.target_ns;
}

static uint64_t done_bytes(const struct bpull_disk *disk)
{
	const struct copy_counts *counts = &disk->walk->counts;

	return counts->copied + counts->cloned + counts->zero;
}

/* What the limiter has still to earn for the rest. What it has saved goes at once: a tenth of a
 * second's bytes, of a time of some seconds more than one in a hundred. */
static uint64_t unearned_bytes(struct bpull_disk *disk, uint64_t now_ns)
{
	int64_t saved = limiter_saved(&disk->walk->throttle.limiter, now_ns);
	uint64_t left = left_bytes(disk);

	return saved < 0 ? left + (uint64_t)-saved : left - MIN(left, (uint64_t)saved);
}

static void set_limit(struct bpull_disk *disk, uint64_t now_ns)
{
	struct job_pace *pace = &disk->job.pace;
	uint64_t limit, burst;

	pace->needed = pace->wish.deadline_ns
			       ? pace_needed_rate(&pace->wish, now_ns, unearned_bytes(disk, now_ns))
			       : 0;
	limit = pace_limit(&pace->wish, pace->needed);
	if (engine_guest_is_active(disk->engine))
		limit = pace_limit_beside_guest(limit, &pace->watch,
						pace_floor(&pace->wish, pace->needed));
	limit = give_way_limit(disk, limit);
	burst = limit == pace->wish.bandwidth ? pace->wish.burst : 0;
	throttle_set_speed(disk, now_ns, limit, give_way_burst(disk, limit, burst));
}

static void set_deadline(struct pace_wish *wish, uint64_t within_ns, uint64_t now_ns)
{
	wish->within_ns = within_ns;
	wish->deadline_ns = within_ns ? now_ns + MIN(within_ns, UINT64_MAX - now_ns) : 0;
}

/* The next look is due at once. */
static void begin_anew(struct bpull_disk *disk)
{
	disk->job.pace.next_ns = 0;
	disk->job.pace.watch = (struct pace_watch){ 0 };
	disk->walk->how.hurries = false;
}

void pace_begin(struct bpull_disk *disk, const struct bpull_job_options *o, uint64_t now_ns)
{
	struct pace_wish *wish = &disk->job.pace.wish;

	*wish = (struct pace_wish){ .bandwidth = o->bandwidth,
				    .burst = o->burst,
				    .min_rate = o->min_rate };
	set_deadline(wish, o->within_ns, now_ns);
	give_way_set(disk, o->guest_p99_ns, now_ns);
	begin_anew(disk);
}

void pace_start(struct bpull_disk *disk, uint64_t now_ns)
{
	if (is_on(&disk->job))
		set_limit(disk, now_ns);
}

void pace_set_speed(struct bpull_disk *disk, uint64_t bandwidth, uint64_t burst, uint64_t now_ns)
{
	disk->job.pace.wish.bandwidth = bandwidth;
	disk->job.pace.wish.burst = burst;
	set_limit(disk, now_ns);
}

void pace_set_rates(struct bpull_disk *disk, const struct bpull_job_rates *rates, uint64_t now_ns)
{
	struct pace_wish *wish = &disk->job.pace.wish;

	if (rates->which & BPULL_JOB_RATE_IOPS)
		requests_set_rate(disk, now_ns, rates->iops);
	if (rates->which & BPULL_JOB_RATE_WITHIN)
		set_deadline(wish, rates->within_ns, now_ns);
	if (rates->which & BPULL_JOB_RATE_MIN)
		wish->min_rate = rates->min_rate;
	if (rates->which & BPULL_JOB_RATE_GUEST_P99)
		give_way_set(disk, rates->guest_p99_ns, now_ns);
	if (!(rates->which & ~(uint32_t)BPULL_JOB_RATE_IOPS))
		return;
	begin_anew(disk);
	set_limit(disk, now_ns);
}

void pace_run(struct bpull_disk *disk, uint64_t now_ns)
{
	struct job_pace *pace = &disk->job.pace;
	bool is_held;

	if (!is_on(&disk->job) || disk->job.step != JOB_COPYING || now_ns < pace->next_ns)
		return;
	pace->next_ns = now_ns + LOOK_NS;
	if (!disk->job.paused)
		give_way_look(disk, done_bytes(disk), now_ns);
	set_limit(disk, now_ns);
	if (disk->job.paused)
		pace_look_away(&pace->watch);
	else
		pace_look(&pace->watch, &pace->wish, now_ns, done_bytes(disk),
			  pace_floor(&pace->wish, pace->needed));
	/* A guest's latency comes before a deadline, and the least rate before both. */
	is_held = pace->way.target_ns && pace->way.guest.limit > pace->wish.min_rate;
	disk->walk->how.hurries = pace->watch.is_slow && !is_held;
}

uint64_t pace_deadline_ns(const struct bpull_disk *disk)
{
	return is_on(&disk->job) && disk->job.step == JOB_COPYING && !disk->job.paused
		       ? disk->job.pace.next_ns
		       : UINT64_MAX;
}

void pace_tell(struct bpull_disk *disk, uint64_t now_ns)
{
	const struct job_pace *pace = &disk->job.pace;
	struct bpull_job_info *to = &disk->job.counters;
	bool is_over = pace->wish.deadline_ns && now_ns > pace->wish.deadline_ns;

	to->bandwidth = pace->wish.bandwidth;
	to->limit = disk->walk->throttle.limiter.rate;
	to->min_rate = pace->wish.min_rate;
	to->guest_p99_ns = pace->way.target_ns;
	to->guest_p99_now_ns = pace->way.p99_ns;
	to->needed_rate = pace->needed == UINT64_MAX ? 0 : pace->needed;
	to->within_ns = pace->wish.within_ns;
	to->deadline_ns = pace->wish.deadline_ns ? pace->wish.deadline_ns - disk->job.start_ns : 0;
	to->is_late = pace->watch.is_late || is_over;
}
