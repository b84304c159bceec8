/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One image of a pull, and all that is ever said about it. Results are kept in
 * the struct and printed by functions that only read it, so that text and JSON
 * can't disagree.
 *
 * A dry run starts no job, which would need write access. It asks the library
 * what a start would refuse and what a pull copies at most, and counts bytes by
 * the map, which is what the job itself will walk.
 */
#include "tools/pull/image.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/advice.h"
#include "tools/cli/fd_map.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/cli/stop.h"
#include "tools/pull/dropped.h"
#include "tools/pull/not_taken.h"
#include "tools/pull/progress.h"
#include "tools/trace/first.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define PULL_PLAN_EXTENTS 512

static void pull_image_end(struct pull_image *image, const char *status, int code)
{
	bpull_disk_close(image->disk);
	image->disk = NULL;
	image->state = PULL_ENDED;
	image->status = status;
	image->code = code;
}

static void pull_image_fail(struct pull_image *image, int error)
{
	image->error.code = error;
	advice_add(&image->error, false); /* here, as the JSON line has it, too */
	pull_image_end(image, "failed", exit_code_of_error(error));
}

/* 0 or -errno; opened images have their warning said. */
static int pull_image_open(struct pull_image *image, struct bpull_engine *engine,
			   const struct bpull_disk_options *options)
{
	int rc = image->out ? bpull_flatten_open(engine, image->path, options, image->out,
						 image->new_image, &image->disk, &image->error)
			    : bpull_disk_open(engine, image->path, options, &image->disk,
					      &image->error);
	const char *hint;
	const char *warning;

	if (!rc)
		rc = fd_map_judge(options, &image->error);
	if (rc)
		return rc;
	image->depth = bpull_disk_depth(image->disk);
	image->virtual_size = bpull_disk_size(image->disk);
	warning = bpull_disk_warning(image->disk);
	if (warning)
		say_note("warning: %s", warning);
	hint = bpull_disk_hint(image->disk);
	if (!image->quiet)
		say_disk_hint(hint);
	if (image->out && !image->quiet)
		return not_taken_say(image->path, image->out, options, &image->error);
	return 0;
}

static void pull_image_note_first(const struct pull_image *image,
				  const struct bpull_job_options *job)
{
	char note[FIRST_NOTE_CAP];

	if (!image->quiet && first_note(job, image->virtual_size, note))
		say_note("'%s': %s", image->path, note);
}

static enum pull_wait pull_image_waits(const struct pull_image *image, int rc)
{
	if (rc == -EMFILE || rc == -ENFILE)
		return PULL_WAIT_FILES;
	return rc == -EBUSY && image->error.remedy == BPULL_REMEDY_CLOSE_DISK ? PULL_WAIT_IMAGE
									      : PULL_WAIT_NONE;
}

enum pull_wait pull_image_start(struct pull_image *image, struct bpull_engine *engine,
				const struct bpull_disk_options *options,
				const struct bpull_job_options *job, bool may_wait)
{
	struct bpull_disk_options own = *options;
	enum pull_wait wait;
	const char *note;
	int rc;

	own.user_data = image;
	image->base = job->base;
	image->state = PULL_RUNNING;
	rc = pull_image_open(image, engine, &own);
	if (!rc)
		pull_image_note_first(image, job);
	if (!rc && !stop_signal())
		rc = bpull_job_start(image->disk, job, &image->error);
	wait = may_wait ? pull_image_waits(image, rc) : PULL_WAIT_NONE;
	if (wait) {
		bpull_disk_close(image->disk);
		image->disk = NULL;
		image->state = PULL_UNTRIED;
		image->error = (struct bpull_error){ 0 };
		return wait;
	}
	if (image->is_last)
		sandbox_enter(image->sandbox_names);
	note = image->disk ? bpull_disk_note(image->disk) : NULL;
	if (note)
		say_note("'%s': %s", image->path, note);
	if (rc && !(rc == -EINTR && stop_signal()))
		pull_image_fail(image, rc);
	else if (stop_signal())
		pull_image_stop(image, stop_signal());
	return PULL_WAIT_NONE;
}

void pull_image_go_on(struct pull_image *image)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	if (image->state != PULL_RUNNING)
		return;
	bpull_job_get_info(image->disk, &info);
	if (info.stop_error)
		bpull_job_resume(image->disk);
}

void pull_image_conclude(struct pull_image *image, const struct bpull_event *event, int signal)
{
	image->info.size = sizeof(image->info);
	bpull_job_get_info(image->disk, &image->info);
	switch (event->status) {
	case BPULL_JOB_COMPLETED:
		if (*event->message)
			say_note("warning: %s", event->message);
		if (image->kind)
			dropped_note(image);
		pull_image_end(image, "completed", EXIT_CODE_DONE);
		if (image->kind && image->kind->done)
			image->code = image->kind->done(image);
		break;
	case BPULL_JOB_CANCELED:
		if (*event->message) { /* it ended in time, but a base had been changed */
			image->error.code = -ESTALE;
			snprintf(image->error.message, sizeof(image->error.message), "%s",
				 event->message);
		}
		pull_image_stop(image, signal);
		break;
	case BPULL_JOB_FAILED:
		snprintf(image->error.message, sizeof(image->error.message), "%s", event->message);
		image->error.remedy = event->remedy;
		pull_image_fail(image, event->error ? event->error : -EIO);
		break;
	case BPULL_JOB_READY: break; /* not without BPULL_JOB_MANUAL_FINALIZE */
	}
}

void pull_image_stop(struct pull_image *image, int signal)
{
	/* Without a signal it was told so through its control socket. */
	pull_image_end(image, "canceled", signal ? EXIT_CODE_SIGNAL + signal : EXIT_CODE_FAILED);
}

/* A pull that would be refused must be refused here too. */
static int pull_plan_check(struct pull_image *image, const struct bpull_disk_options *options)
{
	struct bpull_layer_info top = { .size = sizeof(top) };
	struct bpull_info *info;
	struct bpull_disk_options alone = *options;
	int rc;

	alone.flags |= BPULL_DISK_NO_BACKING;
	alone.n_backing_formats = 0; /* of files that are not opened so */

	rc = bpull_info_open(image->path, &alone, &info, &image->error);
	if (rc)
		return rc;
	rc = bpull_info_layer(info, 0, &top);
	if (!rc && top.unwritable) {
		rc = top.corrupt ? -EUCLEAN : -ENOTSUP;
		snprintf(image->error.message, sizeof(image->error.message),
			 "'%s' can't be pulled into: %s", image->path, top.unwritable);
		image->error.remedy = top.unwritable_remedy;
	}
	bpull_info_close(info);
	return rc;
}

/* So must one that is refused for what is in the files: damage, no room for the link, a device too
 * small. *copy_bytes is what is copied at most, whole clusters of the image; 0: not known. */
static int pull_plan_measure(struct pull_image *image, const struct bpull_disk_options *options,
			     const struct bpull_job_options *job, uint64_t *copy_bytes)
{
	struct bpull_disk_options look = *options;
	struct bpull_measure m = { .size = sizeof(m) };
	int rc;

	look.flags &= BPULL_DISK_FORCE_SHARE | BPULL_DISK_READ_HOLES | BPULL_DISK_TRUST_HOLES;
	look.opened = NULL;
	rc = bpull_measure_job(image->path, &look, job, &m, &image->error);
	*copy_bytes = rc ? 0 : m.copy_bytes;
	/* An upper bound, which the pull itself only fails of when it gets there. */
	if (rc == -EFBIG) {
		image->error = (struct bpull_error){ 0 };
		return 0;
	}
	if (rc || !(m.missing || m.data_missing))
		return rc;
	snprintf(image->error.message, sizeof(image->error.message),
		 "'%s': the device is too small: a pull needs up to %" PRIu64 " bytes, %" PRIu64
		 " are missing; enlarge it",
		 image->path, m.missing ? m.needed_size : m.data_needed_size,
		 m.missing ? m.missing : m.data_missing);
	return -ENOSPC;
}

static void pull_plan_count(struct pull_plan *plan, const struct bpull_extent *extent,
			    uint32_t base_depth)
{
	if (!extent->present || extent->depth >= base_depth)
		plan->skipped_bytes += extent->length;
	else if (extent->depth == 0)
		plan->present_bytes += extent->length;
	else if (extent->zero)
		plan->skipped_bytes += extent->length;
	else
		plan->copy_bytes += extent->length;
}

/* Zeros beside data are copied, too, where they lie in one cluster of the image. (To a base the
 * bound has zeros that become entries.) */
static void pull_plan_fill(struct pull_plan *plan, uint64_t bound)
{
	uint64_t more = bound > plan->copy_bytes ? bound - plan->copy_bytes : 0;

	more = more < plan->skipped_bytes ? more : plan->skipped_bytes;
	plan->copy_bytes += more;
	plan->skipped_bytes -= more;
}

void pull_image_plan(struct pull_image *image, struct bpull_engine *engine,
		     const struct bpull_disk_options *options, const struct bpull_job_options *job,
		     struct pull_plan *plan)
{
	struct bpull_disk_options read_only = *options;
	uint32_t base_depth = UINT32_MAX;
	uint64_t bound = 0;
	int rc;

	read_only.flags |= BPULL_DISK_READ_ONLY;
	read_only.flags &= ~(uint32_t)BPULL_DISK_DIRECT; /* nothing is written */
	*plan = (struct pull_plan){ 0 };
	image->state = PULL_RUNNING;

	rc = pull_image_open(image, engine, &read_only);
	if (!rc)
		rc = pull_plan_check(image, &read_only);
	if (!rc)
		rc = bpull_job_check(image->disk, job, &image->error);
	if (!rc && job->base)
		rc = bpull_disk_find(image->disk, job->base, &base_depth, &image->error);
	if (!rc && image->depth > 1)
		rc = pull_plan_measure(image, &read_only, job, &bound);
	if (image->is_last)
		sandbox_enter(SANDBOX_NO_NAMES);
	for (uint64_t start = 0; !rc && !stop_signal() && start < image->virtual_size;) {
		struct bpull_extent extents[PULL_PLAN_EXTENTS];
		int n = bpull_disk_map(image->disk, start, extents, PULL_PLAN_EXTENTS,
				       &image->error);
		for (int i = 0; i < n; i++)
			pull_plan_count(plan, &extents[i], base_depth);
		if (n > 0)
			start = extents[n - 1].start + extents[n - 1].length;
		else
			rc = n ? n : -EIO; /* an end before the end */
	}
	if (!job->base)
		pull_plan_fill(plan, bound);
	if (rc)
		pull_image_fail(image, rc);
	else if (stop_signal())
		pull_image_stop(image, stop_signal());
	else
		pull_image_end(image, "dry-run", EXIT_CODE_DONE);
}

void pull_images_add(const struct pull_image *images, unsigned n, struct progress_now *now)
{
	for (unsigned i = 0; i < n; i++) {
		struct bpull_job_info info = { .size = sizeof(info) };

		if (images[i].state != PULL_RUNNING)
			continue;
		bpull_job_get_info(images[i].disk, &info);
		progress_add(now, &info);
		if (!*now->name)
			now->name = images[i].path;
	}
}

void pull_images_json(const struct pull_image *images, unsigned n, struct progress *progress,
		      const struct progress_now *now)
{
	for (unsigned i = 0; i < n; i++) {
		struct bpull_job_info info = { .size = sizeof(info) };

		if (images[i].state != PULL_RUNNING)
			continue;
		bpull_job_get_info(images[i].disk, &info);
		progress_json(progress, images[i].path, &info, now);
	}
}
