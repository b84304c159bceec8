/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last question before the header without the backing link is written. */
#include "engine/commit/may_drop.h"

#include "engine/commit/mixed.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"

bool job_may_drop_link(struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	return job->step == JOB_DETACHING && !job->error && !job_is_aborted(disk) &&
	       !job_is_stopped(disk) && guest_may_drop(disk) && !mixed_base_changed(disk);
}
