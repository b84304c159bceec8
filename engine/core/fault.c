/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The record of a job's failure: one sentence that names the file, the offset, the
 * direction, and what became of what was copied; and the stop that on-error asks for
 * instead. All sentences are worded here, so that the command, the control socket and
 * the library say the same.
 */
#include "engine/core/fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

void job_fail(struct bpull_disk *disk, int error, const char *format, ...)
{
	struct job_fault *fault = &disk->job.fault;
	va_list args;

	if (fault->error)
		return;
	fault->error = error;
	va_start(args, format);
	vsnprintf(fault->message, sizeof(fault->message), format, args);
	va_end(args);
	/* There may be no request in flight that would wake the owner. */
	engine_rerun(disk->engine);
}

void job_set_remedy(struct bpull_disk *disk, enum bpull_remedy remedy)
{
	if (!disk->job.fault.error)
		disk->job.fault.remedy = remedy;
}

void job_say_mixed(struct bpull_disk *disk, int error, const char *format, ...)
{
	struct job_fault *fault = &disk->job.fault;
	va_list args;

	fault->says_mixed = true;
	if (fault->error && error)
		fault->error = error;
	va_start(args, format);
	vsnprintf(fault->message, sizeof(fault->message), format, args);
	va_end(args);
}

void job_say_leaked(struct bpull_disk *disk)
{
	struct job_fault *fault = &disk->job.fault;
	size_t used = strlen(fault->message);

	if (fault->error)
		snprintf(fault->message + used, sizeof(fault->message) - used,
			 " (leaked clusters are left in the image: freeing them needs room, too)");
}

void job_say_uncommitted(struct bpull_disk *disk, int error)
{
	struct job_fault *fault = &disk->job.fault;
	struct shown shown;
	size_t used = 0;

	if (!fault->error || disk->flatten || disk->flags & BPULL_DISK_GUEST_IO)
		return;
	/* The first failure comes first, unless it is this one. */
	if (fault->error != error)
		used = MIN(strlen(fault->message), sizeof(fault->message) / 2);
	snprintf(fault->message + used, sizeof(fault->message) - used,
		 "%s%s: the tables of what was copied last could not be written: %s; the image is "
		 "as it was at the last commit: %s and run it again",
		 used ? "; then " : "", disk_show(disk, &shown), strerror(-error),
		 error == -EFBIG ? "raise the limit on file sizes" : "make room");
}

const char *fault_room_advice(int error)
{
	if (error == -EFBIG)
		return "raise the limit on file sizes, then ";
	return err_is_no_space(error) ? "make room, then " : "";
}

void job_say_given_up(struct bpull_disk *disk, const struct file *file, int error)
{
	struct job_fault *fault = &disk->job.fault;
	struct shown shown;
	size_t used = MIN(strlen(fault->message), sizeof(fault->message) / 2);

	if (fault->error)
		snprintf(fault->message + used, sizeof(fault->message) - used,
			 "; what came last to %s could not be made durable (%s): %sclose the disk "
			 "and open it again before the next job that writes to it; the disk reads "
			 "and writes meanwhile",
			 file_show(file, &shown), strerror(-error), fault_room_advice(error));
}

static const char *advice(const struct bpull_disk *disk, int error)
{
	if (disk->flatten && error == -EFBIG)
		return "; the unfinished new image was removed: raise the limit on file sizes, or "
		       "choose a file system that holds larger files, and try again";
	if (disk->flatten)
		return err_is_no_space(error)
			       ? "; the unfinished new image was removed: make room and try again"
			       : "; the unfinished new image was removed";
	if (err_is_no_space(error))
		return "; what was copied is kept: make room and run it again";
	switch (error) {
	case -EFBIG:
		return "; what was copied is kept: raise the limit on file sizes, or move the "
		       "image "
		       "to a file system that holds larger files, and run it again";
	case -EUCLEAN: return "; what was copied is kept: check the image";
	default: return "; what was copied is kept";
	}
}

bool fault_is_of_source(const struct op *op, int error)
{
	return op->error == error && op->error_file && op->error_file->is_source;
}

void job_describe_failure(const struct bpull_disk *disk, const struct op *op, const char *what_now,
			  char *out, size_t cap)
{
	struct file *file = op->error_file;
	struct shown shown;

	if (disk->poisoned && disk->flatten)
		snprintf(out, cap, "%s: writing the new image failed: %s%s",
			 disk_show(disk, &shown), strerror(-op->error), what_now);
	else if (disk->poisoned)
		snprintf(out, cap,
			 "%s: writing the image's %s failed: %s; the image is not written to "
			 "any more: it is as it was at the last commit",
			 disk_show(disk, &shown),
			 disk_has_data_file(disk) && file == disk_overlay(disk)->data ? "data file"
										      : "tables",
			 strerror(-op->error));
	else if (file && op->error == -EUCLEAN)
		snprintf(out, cap, "%s: the compressed cluster at offset %#llx does not decode%s",
			 file_show(file, &shown), (unsigned long long)op->error_off, what_now);
	else if (file && op->error == -EBADMSG && file->is_source)
		snprintf(out, cap,
			 "%s: what was read at offset %#llx is not what is expected of it%s",
			 file_show(file, &shown), (unsigned long long)op->error_off, what_now);
	else if (file)
		snprintf(out, cap, "%s: cannot %s at offset %#llx: %s%s", file_show(file, &shown),
			 op->error_was_read ? "read" : "write", (unsigned long long)op->error_off,
			 strerror(-op->error), what_now);
	else
		snprintf(out, cap, "%s: copying stopped at guest offset %#llx: %s%s",
			 disk_show(disk, &shown), (unsigned long long)op->error_off,
			 op->error == -EUCLEAN ? "a table entry points outside its file"
					       : strerror(-op->error),
			 what_now);
}

static bool wants_stop(const struct bpull_disk *disk, const struct op *op)
{
	int error = op->error;

	if (disk->poisoned || disk->job.step == JOB_IDLE || disk->job.step == JOB_UNWINDING ||
	    disk->link.changed)
		return false;
	/* The guest is held for the end of the commit, and must not wait until the program resumes
	 * the job. */
	if (disk->job.step == JOB_DETACHING &&
	    disk->job.counters.type == BPULL_JOB_TYPE_ACTIVE_COMMIT)
		return false;
	if (fault_is_of_source(op, -EHOSTUNREACH))
		return true;
	switch (disk->job.on_error) {
	case BPULL_ON_ERROR_ENOSPC: return err_is_no_space(error);
	case BPULL_ON_ERROR_STOP:
		return error != -EUCLEAN && error != -ENOTSUP && !fault_is_of_source(op, -ESTALE);
	case BPULL_ON_ERROR_REPORT:
	case BPULL_ON_ERROR_IGNORE: break;
	}
	return false;
}

/* A job that lost its source asks for it again so often. */
#define AWAY_RETRY_NS UINT64_C(1000000000)

/* The program is told once, however often the job tries in vain. */
static void tell_stop(struct bpull_disk *disk, const struct op *op, const char *message)
{
	struct job_fault *fault = &disk->job.fault;
	bool was_away = fault->is_away, is_away = fault_is_of_source(op, -EHOSTUNREACH);

	fault->retry_ns = 0;
	if (is_away) {
		fault->is_away = true;
		fault->away_file = op->error_file;
		fault->retry_ns = engine_now_ns() + AWAY_RETRY_NS;
	}
	if (!is_away || !was_away)
		events_push_stopped(disk, op->error, message);
}

/* Stops the job if its policy wants this failure to. True: it was stopped, and the caller must not
 * fail it. False: the policy is another. `message` is the sentence for the event. */
static bool stop_on_fault(struct bpull_disk *disk, const struct op *op, const char *message)
{
	struct job *job = &disk->job;

	if (!wants_stop(disk, op))
		return false;
	if (job->fault.stopped) /* another request in flight has failed, too */
		return true;
	job->fault.stopped = true;
	job->fault.stop.error = op->error;
	job->fault.stop.off = op->error_off;
	job->fault.stop.was_read = op->error_was_read;
	pthread_mutex_lock(&disk->control.mutex);
	disk->control.want_pause = true;
	pthread_mutex_unlock(&disk->control.mutex);
	job->paused = true;
	tell_stop(disk, op, message);
	/* The job sees the pause, and lets runs go that are in the way. */
	engine_rerun(disk->engine);
	return true;
}

void job_fail_op(struct bpull_disk *disk, const struct op *op)
{
	char message[sizeof(disk->job.fault.message)];

	/* A read that was in flight when the job took the abort is no failure. */
	if (disk->job.aborted && op->error_was_read)
		return;
	job_describe_failure(disk, op,
			     fault_is_of_source(op, -EHOSTUNREACH)
				     ? "; the job goes on when it can be reached again"
				     : "; the job waits to be resumed",
			     message, sizeof(message));
	if (stop_on_fault(disk, op, message))
		return;
	job_describe_failure(disk, op, advice(disk, op->error), message, sizeof(message));
	if (!disk->job.fault.error) {
		disk->job.fault.was_io = op->error != -ENOMEM;
		disk->job.fault.was_read = op->error_was_read;
	}
	job_fail(disk, op->error, "%s", message);
}

/* A source and what tells of its zeros are two files of one name. */
static bool is_same_source(const struct file *a, const struct file *b)
{
	return a == b || (a && b && b->is_source && !strcmp(a->name, b->name));
}

void job_note_back(struct bpull_disk *disk, const struct file *file)
{
	struct job *job = &disk->job;

	/* A read that was in flight when the job stopped says nothing of the job; nor does one for
	 * the guest when the job has its end. */
	if (!job->fault.is_away || job->fault.stopped || job->step == JOB_IDLE ||
	    job->step == JOB_UNWINDING)
		return;
	if (file && job->fault.away_file && !is_same_source(job->fault.away_file, file))
		return;
	job->fault.is_away = false;
	job->fault.away_file = NULL;
	disk->engine->n_ahead_failed = 0;
	events_push_resumed(disk);
}

bool job_is_stopped(const struct bpull_disk *disk)
{
	return disk->job.fault.stopped && disk->job.paused;
}

bool job_take_retry(struct job *job, bool is_kept_paused, uint64_t now_ns)
{
	uint64_t at_ns = job->fault.retry_ns;

	if (at_ns && !is_kept_paused && now_ns < at_ns)
		return false;
	job->fault.retry_ns = 0;
	return at_ns && !is_kept_paused;
}

void job_forget_stop(struct job *job)
{
	job->fault.stopped = false;
	memset(&job->fault.stop, 0, sizeof(job->fault.stop));
}

bool job_is_aborted(struct bpull_disk *disk)
{
	bool is_asked;

	pthread_mutex_lock(&disk->control.mutex);
	is_asked = disk->control.want_abort;
	pthread_mutex_unlock(&disk->control.mutex);
	return is_asked || disk->job.aborted;
}
