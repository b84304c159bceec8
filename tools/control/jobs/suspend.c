/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A machine that is rebooted, or comes back from a migration that failed, gives
 * its disk away and takes it again. To clients that is a pause: a job that ended
 * and began anew would look canceled to what drives it.
 */
#include "tools/control/jobs/suspend.h"

#include <string.h>

#include "tools/control/jobs/job_states.h"
#include "tools/control/state/args.h"
#include "tools/control/state/events.h"

/* What clients have set; of a deadline what is left of it. */
static void suspend_keep_rates(struct bpull_job_options *options, const struct bpull_job_info *info)
{
	options->iops = info->iops;
	options->min_rate = info->min_rate;
	options->guest_p99_ns = info->guest_p99_ns;
	options->within_ns = 0;
	if (info->within_ns)
		options->within_ns = info->deadline_ns > info->elapsed_ns
					     ? info->deadline_ns - info->elapsed_ns
					     : 1;
}

const struct bpull_job_options *control_job_suspend(struct control_target *target,
						    const struct bpull_job_info *info)
{
	struct control_job *job = target->active;

	if (!job || job->is_held || job->is_canceled)
		return NULL;
	job->is_suspended = true;
	job->end = *info; /* its numbers meanwhile */
	job->end.state = BPULL_JOB_PAUSED;
	if (job->options.bandwidth != info->bandwidth)
		job->options.burst = 0;
	job->options.bandwidth = info->bandwidth;
	suspend_keep_rates(&job->options, info);
	job->options.flags &= ~(uint32_t)BPULL_JOB_START_PAUSED;
	if (info->state == BPULL_JOB_PAUSED)
		job->options.flags |= BPULL_JOB_START_PAUSED;
	if (!strcmp(job->status, "running"))
		control_tell_status(target, job, "paused");
	else if (!strcmp(job->status, "ready"))
		control_tell_status(target, job, "standby");
	return &job->options;
}

void control_job_wake(struct control_target *target, const char *why)
{
	struct control_job *job = target->active;

	if (!job || !job->is_suspended)
		return;
	job->is_suspended = false;
	if (why) {
		job->end.state = BPULL_JOB_CONCLUDED;
		job->end.status = BPULL_JOB_FAILED;
		control_job_fail(target, job, why);
		return;
	}
	job->since = (struct job_since){ 0 }; /* its numbers begin anew */
	if (!(job->options.flags & BPULL_JOB_START_PAUSED) && !strcmp(job->status, "paused"))
		control_tell_status(target, job, "running");
}

struct json_object *control_refuse_inactive(const struct control_target *target,
					    const struct control_job *job)
{
	if (job && job->is_suspended)
		return control_refuse("GenericError",
				      "The disk is inactive: its machine's rings are stopped; job "
				      "'%.200s' goes on when they run again",
				      job->id);
	if (!job && target->is_inactive)
		return control_refuse("GenericError",
				      "The disk is inactive: its machine's rings are stopped, and "
				      "another program may have the image");
	return NULL;
}
