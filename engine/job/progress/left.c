/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How much is left, for a deadline: guest bytes that a backing file holds, counted once for each of
 * 256 parts of the disk, and at any time those parts that the walk has still to look at, whatever
 * its order. So what a guest has written behind the walk is no error, and ahead of it a small one.
 * Counting anew by walking the tables was rejected: it takes seconds where these map terabytes.
 * The walk that counts is ahead/left_count.c's.
 */
#include "engine/job/progress/left.h"

#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/scale.h"

/* Ranges that are looked at, one by one; what lies behind them counts as one. */
#define MAX_RANGES 1024

/* Between two looks at how long it will take. */
#define LOOK_NS (500 * UINT64_C(1000000))

/* Of the part that holds guest_off: its number, and its end; the last one has no end. */
static uint64_t part_at(const struct job_left *left, uint64_t guest_off, uint64_t *end)
{
	uint64_t i = MIN(guest_off / left->part_len, JOB_LEFT_PARTS - UINT64_C(1));

	*end = i < JOB_LEFT_PARTS - 1 ? (i + 1) * left->part_len : UINT64_MAX;
	return i;
}

void left_add(struct job_left *left, uint64_t guest_off, uint64_t end)
{
	for (uint64_t part_end; guest_off < end; guest_off = part_end) {
		uint64_t i = part_at(left, guest_off, &part_end);

		part_end = MIN(end, part_end);
		left->held[i] += part_end - guest_off;
	}
}

void left_begin(struct job_left *left, uint64_t len)
{
	*left = (struct job_left){ .part_len =
					   MAX(div_round_up(len, JOB_LEFT_PARTS), UINT64_C(1)) };
}

/* Of [lo, hi), as if what each part holds were spread evenly over it. */
static uint64_t held_in(const struct job_left *left, uint64_t lo, uint64_t hi)
{
	uint64_t sum = 0, rest;

	for (uint64_t end; lo < hi; lo = end) {
		uint64_t i = part_at(left, lo, &end);

		end = MIN(hi, end);
		sum += scale(left->held[i], end - lo, 0, left->part_len, &rest);
	}
	return sum;
}

static uint64_t todo_bytes(const struct bpull_disk *disk)
{
	const struct job_left *left = &disk->job.left;
	const struct copy_down *down = &disk->walk->down;
	uint64_t end = down->into ? down->end : disk_overlay(disk)->backed_len, sum = 0, at = 0;
	struct range range;

	for (unsigned i = 0; range_set_find(&disk->walk->todo, at, end, &range); i++) {
		if (i == MAX_RANGES)
			range.hi = end;
		sum += left->is_counted ? held_in(left, range.lo, range.hi) : range.hi - range.lo;
		at = range.hi;
	}
	return sum;
}

/* Runs that have not paid yet. */
static uint64_t unpaid_bytes(const struct bpull_disk *disk)
{
	uint64_t sum = 0;

	for (const struct copy_run *p = disk->walk->runs.first; p; p = p->next)
		if (!p->charge.charged_len && !p->charge.paid_len)
			sum += p->phase == COPY_RUN_CHARGE ? p->plan.data_len : p->len;
	return sum;
}

uint64_t left_bytes(const struct bpull_disk *disk)
{
	const struct copy_counts *counts = &disk->walk->counts;
	uint64_t bytes = todo_bytes(disk), held = counts->copied + counts->zero + counts->cloned;
	uint64_t seen = held + counts->skipped, rest;

	if (!disk->job.left.is_counted && seen)
		bytes = scale(bytes, held, 0, seen, &rest);
	return bytes + unpaid_bytes(disk);
}

/* From the oldest look to this one. */
static uint64_t time_left_ns(const struct job_time_left *time)
{
	unsigned newest = time->n_looks - 1;
	unsigned oldest = time->n_looks > JOB_LOOKS ? time->n_looks - JOB_LOOKS : 0;
	uint64_t bytes = time->looks[newest % JOB_LOOKS].bytes;
	uint64_t before = time->looks[oldest % JOB_LOOKS].bytes, rest;
	uint64_t ns = time->looks[newest % JOB_LOOKS].at_ns - time->looks[oldest % JOB_LOOKS].at_ns;

	if (before <= bytes)
		return 0;
	return MAX(scale(bytes, ns, 0, before - bytes, &rest), UINT64_C(1));
}

void left_look(struct bpull_disk *disk, uint64_t now_ns)
{
	struct job_time_left *time = &disk->job.time_left;
	unsigned i = time->n_looks % JOB_LOOKS;

	if (disk->job.step != JOB_COPYING || disk->job.paused) {
		*time = (struct job_time_left){ 0 };
		return;
	}
	if (time->n_looks && now_ns - time->looks[(i + JOB_LOOKS - 1) % JOB_LOOKS].at_ns < LOOK_NS)
		return;
	time->looks[i].at_ns = now_ns;
	time->looks[i].bytes = left_bytes(disk);
	time->n_looks++;
	time->ns = time_left_ns(time);
}
