/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last question before the header without the backing link is written. */
#include "engine/commit/may_drop.h"

#include <errno.h>

#include "engine/commit/mixed.h"
#include "engine/core/disk.h"
#include "engine/core/drop.h"
#include "engine/core/fault.h"

int may_drop_check(struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	if (job->step != JOB_DETACHING || job->fault.error || job_is_aborted(disk) ||
	    job_is_stopped(disk) || !drop_is_safe(disk))
		return -ECANCELED;
	return mixed_check_files(disk);
}
