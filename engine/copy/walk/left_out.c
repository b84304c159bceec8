/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What could not be read and is left out stays owed, so the link stays too: the job goes on to copy
 * the rest, and fails at its end with the first of them.
 */
#include "engine/copy/walk/left_out.h"

#include <string.h>

#include "engine/blockpull.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/fault.h"
#include "engine/core/op.h"

/* Events that a job may have of this kind. Each takes memory until the next job starts. */
#define MAX_IGNORED_EVENTS 256

bool left_out_note(struct bpull_disk *disk, const struct op *op)
{
	struct left_out *left = &disk->walk->left_out;
	const struct job *job = &disk->job;
	char message[sizeof(left->message)];

	if (job->on_error != BPULL_ON_ERROR_IGNORE || disk->poisoned || job->step != JOB_COPYING ||
	    !op->error_was_read || !op->error_file || fault_is_of_source(op, -EHOSTUNREACH) ||
	    fault_is_of_source(op, -ESTALE))
		return false;
	job_describe_failure(disk, op, "", message, sizeof(message));
	if (!left->n++) {
		left->error = op->error;
		memcpy(left->message, message, sizeof(left->message));
	}
	if (left->n <= MAX_IGNORED_EVENTS)
		events_push_ignored(disk, op->error, message);
	return true;
}

bool left_out_fail_job(struct bpull_disk *disk)
{
	const struct left_out *left = &disk->walk->left_out;

	if (!left->n)
		return false;
	job_fail(disk, left->error,
		 "%.600s; %u stretches were left out, what was copied is kept, and so is the link",
		 left->message, left->n);
	return true;
}
