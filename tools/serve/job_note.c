/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/serve/job_note.h"

#include "tools/cli/say.h"

static const char *job_note_word(const struct bpull_job_info *info)
{
	return info->type == BPULL_JOB_TYPE_PULL ? "pull" : "commit";
}

static void job_note_done(const struct bpull_job_info *info, struct bpull_disk *disk,
			  const char *image)
{
	if (info->type == BPULL_JOB_TYPE_ACTIVE_COMMIT)
		say_note("the commit is done: the disk's image is '%s'", image);
	else if (info->type == BPULL_JOB_TYPE_COMMIT)
		say_note("the commit is done");
	else if (bpull_disk_depth(disk) == 1)
		say_note("the pull is done: the image stands alone");
	else
		say_note("the pull is done: the chain has %u files", bpull_disk_depth(disk));
}

void job_note_event(struct bpull_disk *disk, const struct bpull_event *event, const char *image,
		    bool quiet)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(disk, &info);
	if (event->type == BPULL_EVENT_JOB_STOPPED)
		say_error("the %s stopped: %s", job_note_word(&info), event->message);
	if (event->type != BPULL_EVENT_JOB)
		return;
	if (event->status == BPULL_JOB_FAILED)
		say_error("the %s failed: %s", job_note_word(&info), event->message);
	else if (event->status == BPULL_JOB_COMPLETED && !quiet)
		job_note_done(&info, disk, image);
	else if (event->status == BPULL_JOB_CANCELED && !quiet)
		say_note("the %s was canceled", job_note_word(&info));
}
