/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The end of an active commit: the lower layer becomes the disk's image, while the guest is held.
 *
 * The old image is emptied after that, since nothing in memory leads into it any more. Before, one
 * that failed half way would have to be the disk still. The guest waits for its first table alone:
 * what it held is given back beside the guest, as a file system may take seconds for that.
 *
 * An image that is not emptied does not show what the guest writes next. A program that closes the
 * disk before it has heard that the job is over would open that image again. So the guest waits
 * until the job is over.
 */
#include <errno.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/commit/state.h"
#include "engine/core/aside.h"
#include "engine/core/drop.h"
#include "engine/core/fault.h"
#include "engine/job/chain/down.h"
#include "engine/job/chain/ends.h"
#include "engine/job/chain/settle.h"
#include "formats/chain/chain.h"
#include "formats/chain/empty.h"
#include "formats/chain/hidden.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"

/* An image that can't be emptied is a disk of yesterday. */
#define EMPTY_TRIES 3u

static void give_image_up(struct bpull_disk *disk)
{
	struct bpull_disk *into = disk->walk->down.into;
	struct job_down *state = &disk->job.down;
	unsigned to = disk->link.changed ? 1 : disk->walk->down.to;

	commit_forget(disk);
	commit_hold(into); /* the disk's own commits are the image's from now on */
	disk->guests.draining = false;
	state->old_format = layer_format(disk_overlay(disk));
	chain_hide(disk->chain, 0, 1);
	chain_drop_hidden(disk->chain, disk_note_file_closing, disk->engine, &state->old_files);
	chain_hide(disk->chain, 0, to - 1);
	chain_drop_hidden(disk->chain, disk_note_file_closing, disk->engine, &disk->dropped.files);
	disk->guests.len = disk_overlay(disk)->guest_len;
	disk->guests.prepare = into->guests.prepare;
	disk->may_write = into->may_write;
	disk->since_opened = (typeof(disk->since_opened)){ 0 };
	disk->poisoned = into->poisoned;
	disk->link.changed = state->is_given_up = true;
}

/* The image that was the disk's reads all from the new one: what the guest writes there shows in
 * both. */
static int empty_work(struct bpull_disk *disk, struct err *err)
{
	struct job_down *state = &disk->job.down;
	int rc = -EIO;

	for (unsigned i = 0; rc && i < EMPTY_TRIES; i++)
		rc = empty_image(state->old_files, state->old_format, err);
	return rc;
}

static void empty_end(struct bpull_disk *disk, int rc, const struct err *err)
{
	struct shown shown;

	disk->job.down.is_emptied = !rc;
	if (rc)
		job_say_mixed(
			disk, 0,
			"%s: it could not be emptied (%s); it does not follow the disk's next "
			"writes: remove it",
			file_show(disk->job.down.old_files, &shown),
			err->message[0] ? err->message : strerror(-rc));
}

static const struct aside_kind empty_kind = { .name = "empty",
					      .work = empty_work,
					      .end = empty_end };

static int give_back_work(struct bpull_disk *disk, struct err *err)
{
	struct job_down *state = &disk->job.down;

	return empty_give_back(state->old_files, state->old_format, err);
}

static void give_back_end(struct bpull_disk *disk, int rc, const struct err *err)
{
	struct shown shown;

	if (rc)
		job_say_mixed(disk, 0,
			      "%s: it is empty, but keeps its space until its leaks are "
			      "repaired (%s)",
			      file_show(disk->job.down.old_files, &shown),
			      err->message[0] ? err->message : strerror(-rc));
}

static const struct aside_kind give_back_kind = { .name = "give back",
						  .work = give_back_work,
						  .end = give_back_end };

bool down_pivot(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	if (!job->down.is_given_up) {
		drop_begin(disk); /* calls that walk the chain wait */
		if (!disk_settle_on(disk->walk->down.into, &job->down.n_settles.below) ||
		    !disk_settle_on(disk, &job->down.n_settles.own) || !drop_is_safe(disk))
			return false;
		give_image_up(disk);
		drop_end(disk);
	}
	if (job->down.old_files && !(job->flags & BPULL_JOB_KEEP) && !aside_do(disk, &empty_kind))
		return false;
	if (job->down.is_emptied)
		down_let_guest_go(disk);
	if (job->down.old_files && job->down.is_emptied && !aside_do(disk, &give_back_kind))
		return false;
	file_list_append(&disk->dropped.files, STEAL(job->down.old_files));
	if (!job_close_dropped(disk))
		return false;
	down_let_guest_go(disk);
	return true;
}
