/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Disks: an overlay and its chain, opened under a policy and QEMU's locks. Opening writes nothing,
 * not even a repair, unless a guest may write to the disk. Otherwise a job's start makes the
 * changes that must come before the first copy.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/fork.h"
#include "engine/api/options/args.h"
#include "engine/api/options/open_flags.h"
#include "engine/api/options/options.h"
#include "engine/api/options/told.h"
#include "engine/api/rest.h"
#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/mixed.h"
#include "engine/commit/state.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/export.h"
#include "engine/core/fault.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/guest/request.h"
#include "engine/job/chain/dropped.h"
#include "engine/job/chain/flatten.h"
#include "engine/job/progress/info.h"
#include "engine/job/round.h"
#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_shared.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/path_policy.h"

static void note_no_locks(void *opaque, const char *name)
{
	struct bpull_disk *disk = opaque;
	char safe[512];

	if (disk->told.warning)
		return;
	if (asprintf(&disk->told.warning,
		     "%s: its file system has no locks; nothing keeps another process from "
		     "changing the image meanwhile",
		     err_escape(name, strlen(name), safe, sizeof(safe))) < 0)
		disk->told.warning = NULL;
}

/* A disk has room for one warning; this one replaces any other. */
static void note_mixed(struct bpull_disk *disk)
{
	char *warning = mixed_warning(disk);

	if (!warning)
		return;
	free(disk->told.warning);
	disk->told.warning = warning;
}

static void note_missing(struct bpull_disk *disk, const struct path_policy *policy)
{
	char safe[512];

	if (disk->told.warning || !policy->missing)
		return;
	if (asprintf(&disk->told.warning,
		     "'%s', which was allowed for backing files, does not exist, so it allows "
		     "nothing",
		     err_escape(policy->missing, strlen(policy->missing), safe, sizeof(safe))) < 0)
		disk->told.warning = NULL;
}

/* Warns that a pull will clear the mark "raw external data", which the user has set. */
static void note_raw_mark(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);
	struct layer_info info;
	struct shown shown;

	if (disk->told.warning || !overlay->is_overlay || !overlay->has_backing)
		return;
	layer_describe(overlay, &info);
	if (!info.data_file_raw)
		return;
	if (asprintf(&disk->told.warning,
		     "%s: its data file is marked as raw (the guest's disk by itself), which it "
		     "is not above a backing file; pulling removes that mark",
		     file_show(overlay->file, &shown)) < 0)
		disk->told.warning = NULL;
}

/* One hint for a disk, even if many files of its chain are on that file system. */
static void hint_holes(struct bpull_disk *disk)
{
	for (unsigned i = 0; i < disk->chain->n_layers && !disk->told.hint; i++) {
		const struct layer *layer = disk->chain->layers[i];
		struct shown shown;

		if (layer_format(layer) != IMAGE_RAW || !layer->file->holes_claimed)
			continue;
		if (asprintf(&disk->told.hint,
			     "%s: its file system is not known to tell the truth about holes, so "
			     "they are read",
			     file_show(layer->file, &shown)) < 0)
			disk->told.hint = NULL;
	}
}

/* The chain could not be opened: its file is closed again. */
static void note_failed_file_closing(void *opaque, struct file *file)
{
	struct bpull_disk *disk = opaque;

	disk_note_file_closing(disk->engine, file);
}

static int open_chain(struct bpull_disk *disk, const char *path, const struct bpull_disk_options *o,
		      struct err *err)
{
	struct path_policy policy = { 0 };
	struct chain_open how = options_chain(o, path, &policy);
	int rc;

	blocking_begin();
	rc = policy_build(o, path, &policy, err);
	blocking_end();
	if (rc)
		return rc;
	how.write = !(o->flags & BPULL_DISK_READ_ONLY);
	how.allow_raw = o->flags & BPULL_DISK_GUEST_IO;
	how.watch = true;
	how.at_rest = o->flags & BPULL_DISK_INACTIVE;
	how.outlives = disk->engine->io->ops->outlives;
	how.no_locks_here = note_no_locks;
	how.file_opened = disk_note_file_opened;
	how.file_closing = note_failed_file_closing;
	how.opaque = disk;
	rc = told_open_chain(disk->engine->layers, o, &how, &disk->chain, err);
	if (!rc) {
		note_mixed(disk);
		note_raw_mark(disk);
		note_missing(disk, &policy);
		hint_holes(disk);
	}
	policy_free(&policy);
	return rc;
}

/* Makes the overlay ready for guest writes. An inactive disk's is made ready when it is
 * activated. */
static int prepare_guest(struct bpull_disk *disk, const struct bpull_disk_options *o,
			 struct err *err)
{
	struct layer *overlay = disk_overlay(disk);
	struct shown shown;
	int rc;

	atomic_init(&disk->guests.copy_on_read, o->flags & BPULL_DISK_COPY_ON_READ);
	if (!(o->flags & BPULL_DISK_GUEST_IO) || o->flags & BPULL_DISK_READ_ONLY)
		return 0;
	/* A guest may write an image header into a raw disk; the next probe would believe it. */
	if (disk_is_raw(disk) && o->format != BPULL_FORMAT_RAW)
		return err_set(
			err, -EINVAL,
			"%s: it looks raw, but a guest may have made it look so, or may make "
			"it look different; name its format to let a guest write to it",
			file_show(overlay->file, &shown));
	rc = o->flags & BPULL_DISK_INACTIVE ? 0 : layer_begin_writing(overlay, err);
	disk->may_write = !rc;
	if (!rc && !(o->flags & BPULL_DISK_INACTIVE))
		disk_began_writing(disk);
	return rc;
}

int bpull_disk_open(struct bpull_engine *engine, const char *path,
		    const struct bpull_disk_options *options, struct bpull_disk **out,
		    struct bpull_error *error)
{
	ENGINE_SCOPE(engine);
	struct bpull_disk_options o;
	struct engine_yields yields;
	struct bpull_disk *disk;
	struct err err = { 0 };
	int rc;

	error_begin(error);
	if (is_missing(engine, "engine", error) || is_missing(path, "path", error) ||
	    is_missing(out, "disk", error))
		return -EINVAL;
	rc = options_take(OPEN_DISK, options, &o, error);
	if (rc)
		return rc;
	disk = calloc(1, sizeof(*disk));
	if (!disk)
		return error_fill(error, -ENOMEM, "out of memory");
	if (copy_walk_open(disk)) {
		free(disk);
		return error_fill(error, -ENOMEM, "out of memory");
	}
	disk->engine = engine;
	disk->user_data = o.user_data;
	disk->flags = o.flags;
	disk->guests.rest = o.flags & BPULL_DISK_INACTIVE ? DISK_INACTIVE : DISK_ACTIVE;
	engine_yields_begin(&yields, engine);
	rc = open_chain(disk, path, &o, &err);
	if (!rc) {
		rc = open_flags_check_direct(disk->flags, disk_overlay(disk), &err);
		if (!rc)
			rc = prepare_guest(disk, &o, &err);
		if (rc)
			chain_close(disk->chain, disk_note_file_closing, engine);
	}
	engine_yields_end(&yields);
	if (rc) {
		copy_walk_close(disk);
		free(disk->told.warning);
		free(disk->told.hint);
		free(disk);
		return error_export(&err, error);
	}
	disk->guests.len = disk_overlay(disk)->guest_len;
	job_init_control(disk);
	disk->next = engine->disks;
	engine->disks = disk;
	engine->loop.is_settled = false; /* the last round knew nothing of it */
	*out = disk;
	if (o.opened)
		o.opened(o.user_data);
	return 0;
}

static void stop_job(struct bpull_disk *disk)
{
	engine_rerun(disk->engine); /* the next round frees a node that is over */
	while (disk_has_job(disk) || disk->nodes.n) {
		struct bpull_disk *working = disk->nodes.working;

		/* Asks each job only once, since asking wakes the engine. */
		if (disk_has_job(disk) && !job_is_aborted(working ? working : disk))
			bpull_job_abort(disk);
		engine_wait_round(disk->engine, UINT64_MAX);
	}
}

void bpull_disk_close(struct bpull_disk *disk)
{
	struct bpull_engine *engine;
	struct engine_yields yields;

	if (!disk)
		return;
	engine = disk->engine;
	if (engine_is_forked(engine))
		return; /* bpull_engine_close() closes all descriptors */
	engine_enter(engine);
	stop_job(disk);
	disk_stop_guests(disk);
	if (disk->flags & BPULL_DISK_GUEST_IO)
		disk_settle(disk);
	while (disk->guests.discard.runs)
		engine_wait_round(disk->engine, UINT64_MAX);
	disk_leave_engine(disk);
	company_leave(disk); /* the others wait for it no more */
	engine_rerun(disk->engine);
	engine_yields_begin(&yields, engine);
	/* An inactive disk's image is another program's. */
	if (disk->flags & BPULL_DISK_GUEST_IO && disk->guests.rest == DISK_ACTIVE)
		disk_reclaim(disk);
	if (disk->guests.rest == DISK_ACTIVE)
		mixed_mark_closing(disk);
	commit_abandon(disk);
	flatten_free(disk);
	guest_forget_events(disk);
	events_forget(disk);
	file_close_all(disk->dropped.files);
	chain_close(disk->chain, disk_note_file_closing, engine);
	engine_yields_end(&yields);
	job_free_control(disk);
	free(disk->told.warning);
	free(disk->told.hint);
	free(disk->base_name);
	dropped_free(disk);
	copy_walk_close(disk);
	free(disk);
	engine_leave(engine);
}

uint64_t bpull_disk_size(const struct bpull_disk *disk)
{
	DISK_SCOPE(disk);

	return disk ? disk->guests.len : 0;
}

unsigned bpull_disk_depth(const struct bpull_disk *disk)
{
	DISK_SCOPE(disk);

	if (!disk)
		return 0;
	/* The source of a flatten is not part of the new file's chain. */
	return MAX(disk->chain->n_layers - (disk->flatten ? 1 : 0), 1u);
}

int bpull_disk_find(struct bpull_disk *disk, const char *path, uint32_t *depth,
		    struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct engine_yields yields;
	struct err err = { 0 };
	int rc;

	error_begin(error);
	if (is_missing(disk, "disk", error) || is_missing(path, "path", error) ||
	    is_missing(depth, "depth", error))
		return -EINVAL;
	engine_yields_begin(&yields, disk->engine);
	rc = chain_find_base(disk->chain, layer_set_opener(disk->engine->layers), path, depth,
			     &err);
	engine_yields_end(&yields);
	return rc ? error_export(&err, error) : 0;
}

int bpull_disk_layer_path(struct bpull_disk *disk, uint32_t depth, char *path, size_t size)
{
	DISK_SCOPE(disk);

	if (!disk || (!path && size) || disk->flatten || depth >= disk->chain->n_layers)
		return -EINVAL;
	return snprintf(path, size, "%s", disk->chain->layers[depth]->file->name);
}

const char *bpull_job_dropped(const struct bpull_disk *disk, uint32_t i)
{
	DISK_SCOPE(disk);

	return disk ? dropped_path(disk, i) : NULL;
}

const char *bpull_disk_warning(const struct bpull_disk *disk)
{
	return disk ? disk->told.warning : NULL;
}

const char *bpull_disk_hint(const struct bpull_disk *disk)
{
	return disk ? disk->told.hint : NULL;
}

const char *bpull_disk_note(const struct bpull_disk *disk)
{
	DISK_SCOPE(disk);
	const struct layer *mended;

	if (!disk)
		return NULL;
	/* While a job writes to a backing file the note is about that file. */
	mended = disk_overlay(disk->nodes.working ? disk->nodes.working : disk);
	return mended->note[0] ? mended->note : NULL;
}
