/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job says of its failures: one sentence that names the file, the offset,
 * the direction, and what became of what was copied. All are worded here, so
 * that the command, the control socket and the library say the same.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/commit.h"
#include "engine/engine.h"
#include "engine/flatten.h"
#include "engine/job_stop.h"
#include "io/base.h"

const char *file_show(const struct file *file, struct shown *shown)
{
	return err_escape(file->name, strlen(file->name), shown->name, sizeof(shown->name));
}

void job_fail(struct bpull_disk *disk, int error, const char *format, ...)
{
	struct job *job = &disk->job;
	va_list args;

	if (job->error)
		return;
	job->error = error;
	va_start(args, format);
	vsnprintf(job->message, sizeof(job->message), format, args);
	va_end(args);
	engine_again(disk->engine); /* perhaps nothing else is on its way that would */
}

static const char *advice(const struct bpull_disk *disk, int error)
{
	if (flatten_is(disk) && error == -EFBIG)
		return "; the unfinished new image was removed: raise the limit on file sizes, or "
		       "choose a file system that holds larger files, and try again";
	if (flatten_is(disk))
		return error == -ENOSPC || error == -EDQUOT
			       ? "; the unfinished new image was removed: make room and try again"
			       : "; the unfinished new image was removed";
	switch (error) {
	case -EFBIG:
		return "; what was copied is kept: raise the limit on file sizes, or move the "
		       "image "
		       "to a file system that holds larger files, and run the pull again";
	case -ENOSPC:
	case -EDQUOT: return "; what was copied is kept: make room and run the pull again";
	case -EUCLEAN: return "; what was copied is kept: check the image";
	default: return "; what was copied is kept";
	}
}

void job_describe_failure(const struct bpull_disk *disk, const struct op *op, const char *what_now,
			  char *out, size_t cap)
{
	struct file *file = op->error_file;
	struct shown shown;

	if (disk->poisoned && flatten_is(disk))
		snprintf(out, cap, "%s: writing the new image failed: %s%s",
			 file_show(disk_overlay(disk)->file, &shown), strerror(-op->error),
			 what_now);
	else if (disk->poisoned)
		snprintf(out, cap,
			 "%s: writing the image's %s failed: %s; the image is not written to "
			 "any more: it is as it was at the last commit",
			 file_show(disk_overlay(disk)->file, &shown),
			 disk_has_data_file(disk) && file == disk_overlay(disk)->data ? "data file"
										      : "tables",
			 strerror(-op->error));
	else if (file && op->error == -EUCLEAN)
		snprintf(out, cap, "%s: the compressed cluster at offset %#llx does not decode%s",
			 file_show(file, &shown), (unsigned long long)op->error_off, what_now);
	else if (file)
		snprintf(out, cap, "%s: cannot %s at offset %#llx: %s%s", file_show(file, &shown),
			 op->error_was_read ? "read" : "write", (unsigned long long)op->error_off,
			 strerror(-op->error), what_now);
	else
		snprintf(out, cap, "%s: copying stopped at guest offset %#llx: %s%s",
			 file_show(disk_overlay(disk)->file, &shown),
			 (unsigned long long)op->error_off,
			 op->error == -EUCLEAN ? "a table entry points outside its file"
					       : strerror(-op->error),
			 what_now);
}

void job_say_uncommitted(struct bpull_disk *disk)
{
	struct job *job = &disk->job;
	struct shown shown;

	size_t used = 0;

	if (!job->error || flatten_is(disk) || disk->flags & BPULL_DISK_GUEST_IO)
		return;
	/* What failed first is said first, unless it is this. */
	if (job->error != commit_stall_error(disk))
		used = MIN(strlen(job->message), sizeof(job->message) / 2);
	snprintf(job->message + used, sizeof(job->message) - used,
		 "%s%s: the tables of what was copied last could not be written: %s; the image is "
		 "as it was at the last commit: %s and run the pull again",
		 used ? "; then " : "", file_show(disk_overlay(disk)->file, &shown),
		 strerror(-commit_stall_error(disk)),
		 commit_stall_error(disk) == -EFBIG ? "raise the limit on file sizes"
						    : "make room");
}

void job_fail_op(struct bpull_disk *disk, const struct op *op)
{
	char message[sizeof(disk->job.message)];

	if (disk->job.aborted && op->error_was_read) /* a read in flight when the abort was heard */
		return;
	job_describe_failure(disk, op, "; the job waits to be resumed", message, sizeof(message));
	if (job_stop(disk, op, message))
		return;
	job_describe_failure(disk, op, advice(disk, op->error), message, sizeof(message));
	if (!disk->job.error) {
		disk->job.n.error_was_io = op->error != -ENOMEM;
		disk->job.n.error_was_read = op->error_was_read;
	}
	job_fail(disk, op->error, "%s", message);
}
