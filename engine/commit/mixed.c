/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Locks keep QEMU and us apart, but not everything takes them. When a backing file
 * is changed while a job reads it, what was copied is of one state, what the chain
 * still holds is of another, and no later job could see that. So the link stays
 * and the image is marked (formats/qcow2/image/mark.c), also by a job that ends for
 * another reason; only a job that accepts the mixture pulls a marked image.
 *
 * The mark goes after the link. The other way round a cut between the two would
 * leave a mixture with a link and without the mark; this way it leaves an image
 * that stands alone and bears a mark, which keeps it from nothing.
 */
#include "engine/commit/mixed.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/commit/state.h"
#include "engine/core/aside.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/loop.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_header.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"

/* Finds a backing file that was changed (*state: FILE_CHANGED), or else one of which that is not
 * known yet (FILE_UNSURE); NULL: all are as they were. */
static struct file *look_at_files(const struct bpull_disk *disk, enum file_state *state)
{
	struct file *unsure = NULL;

	for (unsigned i = 1; i < disk->chain->n_layers; i++) {
		const struct layer *layer = disk->chain->layers[i];
		struct file *files[] = { layer->file, layer->data };

		if (layer->is_overlay) /* a node writes to it */
			continue;
		for (unsigned j = 0; j < 1u + (files[1] != files[0]); j++) {
			*state = file_look(files[j]);
			if (*state == FILE_CHANGED)
				return files[j];
			if (*state == FILE_UNSURE)
				unsure = files[j];
		}
	}
	*state = unsure ? FILE_UNSURE : FILE_SAME;
	return unsure;
}

/* The same, but waits until it is known of all: only a changed file, or NULL. */
static struct file *changed_file(const struct bpull_disk *disk)
{
	enum file_state state;
	struct file *file;

	while ((file = look_at_files(disk, &state)) && state == FILE_UNSURE)
		file_changed(file); /* waits */
	return file;
}

int mixed_check_files(struct bpull_disk *disk)
{
	enum file_state state;
	struct file *file = look_at_files(disk, &state);
	struct shown shown;

	if (!file)
		return 0;
	if (state == FILE_UNSURE) {
		engine_rerun(disk->engine);
		return -EAGAIN;
	}
	job_fail(disk, -ESTALE, "%s: it was changed while it was read; %s", file_show(file, &shown),
		 disk->flatten ? "the unfinished new image was removed"
			       : "the backing link is kept");
	return -ESTALE;
}

/* No commit may write the header while a worker does. A guest that flushes from several threads
 * leaves no moment without a commit, so the next one is held back. False: not yet. */
static bool claim_header(struct bpull_disk *disk)
{
	if (commit_will_end(disk)) {
		commit_hold(disk);
		return false;
	}
	return disk->guests.prepare != GUESTS_PREPARING;
}

/* Something was copied through this disk, so a changed backing file makes the image a mixture. */
static bool may_be_mixture(const struct bpull_disk *disk)
{
	return !disk->flatten && disk->since_opened.has_copied;
}

/* Replaces any other message, which would advise to go on. */
static void say_changed(struct bpull_disk *disk, const struct file *file, const char *marked)
{
	struct shown shown;

	job_say_mixed(
		disk, -ESTALE,
		"%s: it was changed while it was read; the backing link is kept, and what was "
		"copied may be of either state%s: restore the overlay from a copy, or make it anew",
		file_show(file, &shown), marked);
}

static int mark_overlay(struct bpull_disk *disk, bool mixed, struct err *err)
{
	struct layer *overlay = disk_overlay(disk);

	return layer_mark_mixed(overlay, mixed, err);
}

static int mark_work(struct bpull_disk *disk, struct err *err)
{
	return mark_overlay(disk, true, err);
}

static int clear_work(struct bpull_disk *disk, struct err *err)
{
	return mark_overlay(disk, false, err);
}

/* The job's end releases them. */
static int hold_commits(struct bpull_disk *disk)
{
	assert(!commit_will_end(disk));
	commit_hold(disk);
	return 0;
}

static const struct aside_kind mark_kind = {
	.name = "mark", .is_exclusive = true, .begin = hold_commits, .work = mark_work
};

static const struct aside_kind clear_kind = {
	.name = "clear-mark", .is_exclusive = true, .begin = hold_commits, .work = clear_work
};

static const char *what_came_of_it(int rc)
{
	switch (rc) {
	case 0: return ", and the image is marked as such";
	case -ENOSPC: return ", and there was no room to mark the image as such";
	}
	return ", and the image could not be marked as such: its header can't be written";
}

bool mixed_mark(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);
	enum file_state state = FILE_SAME;
	const struct file *file = may_be_mixture(disk) ? look_at_files(disk, &state) : NULL;

	if (!file)
		return true;
	if (state == FILE_UNSURE) {
		engine_rerun(disk->engine);
		return false;
	}
	if (!layer_has_claims(overlay)) {
		say_changed(disk, file, ", and an image of its format can't be marked as such");
		return true;
	}
	if (aside_is_done(disk, &mark_kind)) {
		say_changed(disk, file, what_came_of_it(disk->aside.rc));
		return true;
	}
	if (disk->poisoned) {
		say_changed(disk, file,
			    ", and the image is not marked as such, since an earlier write to it "
			    "failed");
		return true;
	}
	return claim_header(disk) && aside_do(disk, &mark_kind);
}

void mixed_mark_closing(struct bpull_disk *disk)
{
	struct layer *overlay = disk_overlay(disk);
	struct err err = { 0 };

	if (!may_be_mixture(disk) || !changed_file(disk) || overlay->is_mixed ||
	    !layer_has_claims(overlay) || disk->poisoned || !claim_header(disk))
		return;
	layer_mark_mixed(overlay, true, &err); /* no caller hears of it any more */
}

bool mixed_clear(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);
	const struct aside *aside = &disk->aside;

	if (!overlay->is_mixed || overlay->has_backing)
		return true;
	if (aside_is_done(disk, &clear_kind)) {
		if (aside->was_run)
			job_say_mixed(disk, 0, "%s", aside->err.message);
		else
			job_say_mixed(disk, 0,
				      "the mark that its backing file was changed could not be "
				      "taken away: %s",
				      strerror(-aside->rc));
		return true;
	}
	if (disk->poisoned)
		return true;
	return claim_header(disk) && aside_do(disk, &clear_kind);
}

int mixed_refuse(const struct layer *overlay, bool accepts, struct err *err)
{
	struct shown shown;

	if (!overlay->is_mixed || accepts)
		return 0;
	err_set(err, -EPERM,
		"%s: it is marked: a backing file was changed while an earlier pull read it, and "
		"what that pull copied may be of either state, not of what the chain holds now; "
		"restore the overlay from a copy, or make it anew (where the backing file is as it "
		"was again, or to have the mixture all the same, the mark may be accepted)",
		file_show(overlay->file, &shown));
	return err_remedy(err, -EPERM, ERR_REMEDY_ACCEPT_MIXED, NULL);
}

int mixed_check(const struct bpull_disk *disk, uint32_t job_flags, struct err *err)
{
	const struct layer *overlay = disk_overlay(disk);
	bool accepts = job_flags & BPULL_JOB_ACCEPT_MIXED;
	const struct file *file = accepts && overlay->is_mixed ? changed_file(disk) : NULL;
	struct shown shown;

	if (file)
		return err_set(err, -ESTALE,
			       "%s: it was changed while this disk had it open, which may hold "
			       "tables of its earlier state: close the disk, and open it again",
			       file_show(file, &shown));
	return mixed_refuse(overlay, accepts, err);
}

char *mixed_warning(const struct bpull_disk *disk)
{
	const struct chain *chain = disk->chain;
	bool will_pull = !(disk->flags & (BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO));
	struct shown shown;
	char *text;

	for (unsigned i = will_pull; i < chain->n_layers; i++) {
		if (!chain->layers[i]->is_mixed)
			continue;
		if (asprintf(&text,
			     "%s: it is marked: a backing file was changed while a pull copied it, "
			     "and "
			     "what is read here may be of either state",
			     file_show(chain->layers[i]->file, &shown)) < 0)
			return NULL;
		return text;
	}
	return NULL;
}
