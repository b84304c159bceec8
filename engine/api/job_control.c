/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What any thread may ask of a running job. It only writes a request into the control block and
 * wakes the owner thread, which obeys in its next round (job_obey()). Letting other threads change
 * the job was rejected: everything that it touches would need locks.
 */
#include <errno.h>
#include <pthread.h>

#include "engine/api/options/args.h"
#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/job/progress/info.h"
#include "io/base.h"

int bpull_job_get_info(struct bpull_disk *disk, struct bpull_job_info *info)
{
	struct bpull_job_info now;

	if (!disk ||
	    is_unfit(info, "info", RESULT_FIRST_LEN(struct bpull_job_info, verified_bytes), NULL))
		return -EINVAL;
	job_read_info(disk, &now);
	result_export(info, &now, sizeof(now));
	return now.type != BPULL_JOB_TYPE_UNKNOWN;
}

/* Locks the control block of a running job, which may be a node's: 0 and in *out that block.
 * -ENOENT, without a lock: no job runs. No node is freed while the disk's own block is locked. */
static int control_lock(struct bpull_disk *disk, struct control **out)
{
	struct bpull_disk *working;

	if (!disk)
		return -EINVAL;
	pthread_mutex_lock(&disk->control.mutex);
	working = disk->nodes.working;
	if (disk->control.running) {
		if (working)
			pthread_mutex_lock(&working->control.mutex);
		*out = working ? &working->control : &disk->control;
		return 0;
	}
	pthread_mutex_unlock(&disk->control.mutex);
	return -ENOENT;
}

static int control_unlock(struct bpull_disk *disk, struct control *control)
{
	if (control != &disk->control)
		pthread_mutex_unlock(&control->mutex);
	pthread_mutex_unlock(&disk->control.mutex);
	engine_wake(disk->engine);
	return 0;
}

int bpull_job_set_speed(struct bpull_disk *disk, uint64_t bandwidth, uint64_t burst)
{
	struct control *control;
	int rc = control_lock(disk, &control);

	if (rc)
		return rc;
	control->bandwidth = bandwidth;
	control->burst = burst;
	control->new_speed = true;
	return control_unlock(disk, control);
}

#define KNOWN_RATES                                                         \
	(BPULL_JOB_RATE_IOPS | BPULL_JOB_RATE_WITHIN | BPULL_JOB_RATE_MIN | \
	 BPULL_JOB_RATE_GUEST_P99)

int bpull_job_set_rates(struct bpull_disk *disk, const struct bpull_job_rates *rates)
{
	struct bpull_job_rates r = { 0 };
	struct bpull_job_rates *to;
	struct control *control;
	int rc;

	if (!disk || !rates || !options_import(&r, sizeof(r), rates) || r.which & ~KNOWN_RATES)
		return -EINVAL;
	if (r.which & BPULL_JOB_RATE_GUEST_P99 && r.guest_p99_ns &&
	    !(disk->flags & BPULL_DISK_GUEST_IO))
		return -EINVAL;
	rc = control_lock(disk, &control);
	if (rc)
		return rc;
	to = &control->rates;
	to->which |= r.which;
	if (r.which & BPULL_JOB_RATE_IOPS)
		to->iops = r.iops;
	if (r.which & BPULL_JOB_RATE_WITHIN)
		to->within_ns = r.within_ns;
	if (r.which & BPULL_JOB_RATE_MIN)
		to->min_rate = r.min_rate;
	if (r.which & BPULL_JOB_RATE_GUEST_P99)
		to->guest_p99_ns = r.guest_p99_ns;
	return control_unlock(disk, control);
}

static int set_pause(struct bpull_disk *disk, bool pause)
{
	struct control *control;
	int rc = control_lock(disk, &control);

	if (rc)
		return rc;
	control->want_pause = control->keep_paused = pause;
	return control_unlock(disk, control);
}

int bpull_job_pause(struct bpull_disk *disk)
{
	return set_pause(disk, true);
}

int bpull_job_resume(struct bpull_disk *disk)
{
	return set_pause(disk, false);
}

int bpull_job_abort(struct bpull_disk *disk)
{
	struct control *control;
	int rc = control_lock(disk, &control);

	if (rc)
		return rc;
	control->want_abort = true;
	return control_unlock(disk, control);
}

int bpull_job_finalize(struct bpull_disk *disk)
{
	struct control *control;
	int rc = control_lock(disk, &control);
	bool ready;

	if (rc)
		return rc;
	ready = control->info.state == BPULL_JOB_WAITING;
	control->want_finalize |= ready;
	control_unlock(disk, control);
	return ready ? 0 : -EAGAIN;
}
