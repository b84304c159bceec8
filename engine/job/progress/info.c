/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The numbers of a job that any thread may read: put together from what the walk and the commits
 * have counted, and copied out under the control block's mutex.
 */
#include "engine/job/progress/info.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/copy/cursor.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/job/progress/left.h"
#include "engine/job/progress/pace.h"
#include "io/base.h"

void job_init_control(struct bpull_disk *disk)
{
	pthread_mutex_init(&disk->control.mutex, NULL);
	disk->control.info.end = 1;
}

void job_free_control(struct bpull_disk *disk)
{
	pthread_mutex_destroy(&disk->control.mutex);
}

static enum bpull_job_state public_state(const struct job *job)
{
	if (job->fault.stopped && job->step != JOB_IDLE && job->step != JOB_UNWINDING)
		return BPULL_JOB_PAUSED;
	switch (job->step) {
	case JOB_IDLE: return BPULL_JOB_CONCLUDED;
	case JOB_COPYING:
	case JOB_VERIFYING: return job->paused ? BPULL_JOB_PAUSED : BPULL_JOB_RUNNING;
	case JOB_READY: return BPULL_JOB_WAITING;
	case JOB_PROVING: return job->paused ? BPULL_JOB_PAUSED : BPULL_JOB_STOPPING;
	case JOB_COMMITTING:
	case JOB_DETACHING:
	case JOB_UNWINDING: return BPULL_JOB_STOPPING;
	}
	abort();
}

/* Collects what the walk and the commits have counted, and what failed. */
static void collect(struct bpull_disk *disk)
{
	const struct copy_counts *from = &disk->walk->counts;
	const struct job_fault *fault = &disk->job.fault;
	struct bpull_job_info *to = &disk->job.counters;

	to->copied_bytes = from->copied;
	to->cloned_bytes = from->cloned;
	to->zero_bytes = from->zero;
	to->present_bytes = from->present;
	to->skipped_bytes = from->skipped;
	to->source_bytes = from->source;
	to->shared_bytes = from->shared;
	to->past_cache_bytes = from->past_cache;
	to->verified_bytes = from->verified;
	to->n_commits = disk->commits.n_synced - disk->job.n_synced_before;
	to->stop_error = fault->stop.error;
	to->stop_offset = fault->stop.off;
	to->stop_was_read = fault->stop.was_read;
	to->error_was_io = fault->was_io;
	to->error_was_read = fault->was_read;
}

void job_begin_info(struct bpull_disk *disk, enum bpull_job_type type, uint64_t end)
{
	disk->job.counters.type = type;
	disk->job.counters.end = MAX(end, 1u); /* cur == end means done */
}

void job_reach_end(struct bpull_disk *disk)
{
	disk->job.counters.cur = disk->job.counters.end;
}

/* The time that job_read_info() has told already never falls. */
static void copy_info(struct control *control, const struct job *job)
{
	uint64_t told_ns = 0;

	pthread_mutex_lock(&control->mutex);
	if (control->start_ns == job->start_ns)
		told_ns = control->info.elapsed_ns;
	control->start_ns = job->start_ns;
	control->info = job->counters;
	control->info.elapsed_ns = MAX(control->info.elapsed_ns, told_ns);
	pthread_mutex_unlock(&control->mutex);
}

void job_publish_info(struct bpull_disk *disk, uint64_t now_ns)
{
	struct job *job = &disk->job;
	uint64_t at = cursor_position(disk);

	collect(disk);
	job->counters.state = public_state(job);
	pace_tell(disk, now_ns);
	left_look(disk, now_ns);
	job->counters.left_ns = job->time_left.ns;
	job->counters.iops = disk->walk->requests.limiter.rate;
	job->counters.n_requests = disk->walk->requests.n_done;
	job->counters.elapsed_ns = now_ns - job->start_ns;
	/* Later walks begin at 0 again; cur never falls. */
	if (job->step == JOB_COPYING || job->step == JOB_UNWINDING)
		job->counters.cur = MAX(job->counters.cur, MIN(at, job->counters.end));
	copy_info(&disk->control, job);
	if (disk->nodes.of && disk->nodes.of->nodes.working == disk)
		copy_info(&disk->nodes.of->control, job);
}

static bool runs(const struct bpull_job_info *info)
{
	return info->state != BPULL_JOB_NONE && info->state != BPULL_JOB_CONCLUDED;
}

void job_read_info(struct bpull_disk *disk, struct bpull_job_info *out)
{
	struct control *control = &disk->control;
	struct bpull_job_info *info = &control->info;

	pthread_mutex_lock(&control->mutex);
	if (runs(info))
		info->elapsed_ns = engine_now_ns() - control->start_ns;
	if (runs(info) && info->deadline_ns && info->elapsed_ns > info->deadline_ns) {
		info->is_late = 1;
		info->needed_rate = 0;
	}
	*out = *info;
	pthread_mutex_unlock(&control->mutex);
}

void job_publish_end(struct bpull_disk *disk, enum bpull_job_status status, uint64_t now_ns)
{
	struct bpull_job_info *counters = &disk->job.counters;

	if (status == BPULL_JOB_COMPLETED)
		job_reach_end(disk);
	counters->status = status;
	counters->error = status == BPULL_JOB_FAILED ? disk->job.fault.error : 0;
	job_publish_info(disk, now_ns);
}
