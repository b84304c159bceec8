/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/copy/walk/slots.h"

#include <stdint.h>

#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/convoy.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/job.h"
#include "io/base.h"
#include "io/buf.h"

/* A disk may begin a run while so many times the bytes that it holds are free. So no disk takes
 * nearly all, and few disks still use most: of 16 buffers two disks together take nine. Equal parts
 * were rejected: of two hundred disks most only wait for others, and the few that read need more
 * than the two hundredth part. */
#define FREE_PER_HELD 2

/* A disk that copies alone leaves LEFT_MAX buffers free, but at most this part of them: else a disk
 * that begins later would wait for its device. */
#define LEFT_MAX  2
#define LEFT_PART 8

/* The last SPARED_PART of the buffers are for jobs that are not parted from their convoy
 * (convoy.h): else as many slow jobs as there are buffers would hold all. But each parted job may
 * have a run in them for one SPARED_REST of the time, or a job that has stalled could never advance
 * again where all buffers are busy. */
#define SPARED_PART 4
#define SPARED_REST 8

/* The disk wants buffers. */
static bool wants_buffers(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	return disk->guests.runs_on_read.n ||
	       ((job->step == JOB_COPYING || job->step == JOB_VERIFYING) && job_goes_on(job));
}

void slots_look(struct bpull_engine *engine)
{
	engine->n_copying = engine->n_in_time = 0;
	for (const struct bpull_disk *disk = engine->disks; disk; disk = disk->next) {
		bool wants = wants_buffers(disk);

		engine->n_copying += wants;
		engine->n_in_time += wants && !convoy_is_parted(&disk->walk->company.member);
	}
}

static uint64_t len_of_runs(const struct buf_pool *bufs, const struct run_list *runs)
{
	uint64_t len = 0;

	for (const struct copy_run *p = runs->first; p; p = p->next)
		len += p->buf ? buf_len(bufs, p->buf) : 0;
	return len;
}

static uint64_t held_len(const struct bpull_disk *disk)
{
	const struct buf_pool *bufs = disk->engine->bufs;

	return len_of_runs(bufs, &disk->walk->runs) +
	       len_of_runs(bufs, &disk->guests.runs_on_read) +
	       (disk->verify ? disk->verify->n_reading * buf_slot_len(bufs) : 0);
}

/* The buffers that are free now are for other jobs, which are not parted. */
static bool is_spared(const struct bpull_disk *disk, uint64_t held)
{
	const struct buf_pool *bufs = disk->engine->bufs;
	const struct walk_company *company = &disk->walk->company;

	if (!convoy_is_parted(&company->member) || !disk->engine->n_in_time ||
	    buf_n_free(bufs) > buf_n_slots(bufs) / SPARED_PART)
		return false;
	return held ||
	       engine_now_ns() - company->ended_ns < SPARED_REST * company->member.runs.last_ns;
}

bool slots_may_take(const struct bpull_disk *disk)
{
	const struct buf_pool *bufs = disk->engine->bufs;
	uint64_t n_free = buf_n_free(bufs), held;

	if (disk->engine->n_copying < 2)
		return n_free > MIN(buf_n_slots(bufs) / LEFT_PART, (size_t)LEFT_MAX);
	if (!n_free)
		return false;
	held = held_len(disk);
	return held * FREE_PER_HELD <= n_free * buf_slot_len(bufs) && !is_spared(disk, held);
}
