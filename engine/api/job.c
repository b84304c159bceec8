/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs as the program starts them: what forbids one is found, and said, before anything of the
 * image is changed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/api/options/args.h"
#include "engine/api/options/structs.h"
#include "engine/api/place.h"
#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/mixed.h"
#include "engine/copy/walk/first.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/job/ahead/damage.h"
#include "engine/job/ahead/left_count.h"
#include "engine/job/ahead/measure.h"
#include "engine/job/chain/down.h"
#include "engine/job/chain/node.h"
#include "engine/job/compression.h"
#include "engine/job/job.h"
#include "engine/job/progress/left.h"
#include "engine/job/round.h"
#include "engine/job/target.h"
#include "engine/job/verify.h"
#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/medium.h"

#define KNOWN_FLAGS                                                              \
	(BPULL_JOB_MANUAL_FINALIZE | BPULL_JOB_START_PAUSED | BPULL_JOB_VERIFY | \
	 BPULL_JOB_ACCEPT_MIXED | BPULL_JOB_KEEP)

static bool is_running(struct bpull_disk *disk)
{
	bool running;

	pthread_mutex_lock(&disk->control.mutex);
	running = disk->control.running;
	pthread_mutex_unlock(&disk->control.mutex);
	return running;
}

/* For a job that only clones: refuses what can be known before the first clone. */
static int check_copy(const struct bpull_disk *disk, const struct bpull_job_options *o,
		      unsigned pull_to, struct err *err)
{
	const struct chain *chain = disk->chain;
	struct shown shown;
	bool may = false;

	if (o->copy != BPULL_COPY_CLONE)
		return 0;
	if (o->compression || o->flags & BPULL_JOB_VERIFY)
		return err_set(
			err, -EINVAL,
			"a job that compresses or verifies looks at the bytes, so it can't only "
			"clone");
	for (unsigned i = 1; i < pull_to; i++)
		may |= chain->layers[i]->data->may_clone;
	if (may && disk_overlay(disk)->data->may_clone && !disk_has_data_file(disk) &&
	    !disk->flatten)
		return 0;
	return err_set(
		err, -ENOTSUP,
		"%s: its file system, or that of its backing files, can't share blocks between "
		"files (XFS and btrfs can, and not with a data file); nothing was changed: "
		"leave the choice open",
		file_show(disk_overlay(disk)->file, &shown));
}

/* There is nothing to pull. */
static bool is_idle_target(const struct bpull_disk *disk, unsigned pull_to)
{
	return !disk_overlay(disk)->has_backing || pull_to < 2;
}

/* Refuses what forbids the job. Changes nothing, in memory or on disk. */
static int may_start(struct bpull_disk *disk, const struct bpull_job_options *o,
		     struct target *target, struct err *err)
{
	struct layer *overlay = disk_overlay(disk);
	int rc;

	if (disk->poisoned)
		return err_set(err, disk->poisoned,
			       "an earlier write to the image failed; close it and open it again");
	if (flatten_is_over(disk))
		return err_set(
			err, -EINVAL,
			"the new file was made, or removed, by the job before: open it anew");
	if (disk->flatten && o->base)
		return err_set(err, -EINVAL, "flattening has no base");
	rc = job_find_base(disk->chain, o, &target->pull_to, &target->base_name, err);
	if (rc || is_idle_target(disk, target->pull_to))
		return rc;
	rc = layer_refuse(overlay, &overlay->refused.write, err);
	if (!rc)
		rc = mixed_check(disk, o->flags, err);
	if (rc)
		return rc;
	rc = check_copy(disk, o, target->pull_to, err);
	return rc ? rc : compression_check(disk, o, err);
}

static int prepare_image(struct bpull_disk *disk, const struct bpull_job_options *o,
			 struct err *err)
{
	struct layer *overlay = disk_overlay(disk);
	/* Not again if opening did it for the guest. Not either while an earlier job's tables are
	 * only in memory, for want of space: the check on disk would take what they lead to for
	 * leaked, and free it. */
	bool is_prepared = disk->may_write || !commit_is_clean(disk);
	int rc;

	if (down_is_active(disk)) {
		rc = is_prepared ? 0 : layer_begin_writing(overlay, err);
		return !rc && disk->base_name ? chain_plan_link(disk->chain, disk->base_name, err)
					      : rc;
	}
	left_begin(&disk->job.left, overlay->backed_len);
	/* Refuse here, with the image untouched, what would stop the job later. */
	rc = chain_plan_link(disk->chain, disk->base_name, err);
	if (!rc && !is_prepared && !disk->flatten)
		rc = damage_refuse_job(disk, err);
	if (!rc && !down_is_on(disk) && (overlay->file->is_block || overlay->data->is_block))
		rc = measure_device(disk, o->compression ? COMPRESSION_SPARE_LEN : 0, err);
	if (!rc && !is_prepared)
		rc = layer_begin_writing(overlay, err);
	else if (!disk->may_write)
		overlay->note[0] = 0;
	if (!rc && o->compression != BPULL_COMPRESSION_NONE)
		rc = compression_set(disk, o, err);
	if (!rc)
		rc = chain_plan_link(disk->chain, disk->base_name, err);
	if (!rc)
		left_count(disk, o->within_ns);
	return rc;
}

/* Reserves the image for this call; where a guest may write already, its header only. -EBUSY: a job
 * runs. -EPERM: the disk is inactive. */
static int begin_starting(struct bpull_disk *disk, struct engine_yields *yields)
{
	while (!is_running(disk) && (disk->exclusive || disk->n_walking))
		engine_wait_round(disk->engine, UINT64_MAX);
	if (disk->nodes.n)
		engine_rerun(disk->engine); /* the next round frees that of the last job */
	while (!is_running(disk) && disk->nodes.n)
		engine_wait_round(disk->engine, UINT64_MAX);
	if (is_running(disk) || disk->guests.is_growing)
		return -EBUSY;
	if (disk->guests.rest != DISK_ACTIVE)
		return -EPERM;
	disk->exclusive = true;
	while (disk->guests.prepare == GUESTS_PREPARING)
		engine_wait_round(disk->engine, UINT64_MAX);
	engine_yields_begin(yields, disk->engine);
	return 0;
}

static void end_starting(struct bpull_disk *disk, struct engine_yields *yields)
{
	engine_yields_end(yields);
	disk_end_exclusive(disk);
	engine_wake(disk->engine);
}

static int prepare_job(struct bpull_disk *disk, const struct bpull_job_options *o, struct err *err)
{
	struct target target = { 0 };
	int rc = 0;

	if (disk->flags & BPULL_DISK_READ_ONLY)
		return err_set(err, -EROFS, "the disk was opened read-only");
	rc = may_start(disk, o, &target, err);
	if (!rc) {
		job_take_target(disk, &target);
		if (!is_idle_target(disk, disk->chain->pull_to))
			rc = prepare_image(disk, o, err);
		if (rc)
			job_forget_target(disk);
	}
	free(target.base_name);
	return rc;
}

static bool import(struct bpull_job_options *o, const struct bpull_job_options *options)
{
	return options_import(o, sizeof(*o), options) && !(o->flags & ~KNOWN_FLAGS) &&
	       o->compression <= BPULL_COMPRESSION_ZSTD && o->on_error <= BPULL_ON_ERROR_IGNORE &&
	       o->guest_share <= 100 && o->copy <= BPULL_COPY_READ &&
	       (o->compression || !o->compression_level) && copy_first_is_sound(o) &&
	       (o->type == BPULL_JOB_TYPE_UNKNOWN || o->type == BPULL_JOB_TYPE_PULL ||
		o->type == BPULL_JOB_TYPE_COMMIT);
}

/* Refuses a job that writes on a disk that is open for reading only. */
static int check_writable(const struct bpull_disk *disk, const struct target *target,
			  struct err *err)
{
	const struct layer *overlay = disk_overlay(disk);
	const struct file *file = overlay->file->may_not_write ? overlay->file : overlay->data;
	bool is_only_read = disk->nodes.of || disk->flags & BPULL_DISK_READ_ONLY;

	if (!is_only_read || !file || !file->may_not_write || is_idle_target(disk, target->pull_to))
		return 0;
	return medium_refuse_user(file->name, file->may_not_write, err);
}

/* The common beginning of a dry run and a start. After 0, end_starting() must follow. */
static int begin_call(struct bpull_disk *disk, const struct bpull_job_options *options,
		      struct bpull_job_options *o, struct engine_yields *yields,
		      struct bpull_error *error)
{
	error_begin(error);
	if (is_missing(disk, "disk", error))
		return -EINVAL;
	if (!import(o, options))
		return error_fill(error, -EINVAL, "unknown job options");
	switch (begin_starting(disk, yields)) {
	case 0: return 0;
	case -EPERM: return error_fill(error, -EPERM, "the disk is inactive: activate it first");
	default:
		return error_fill(error, -EBUSY, "%s",
				  disk->guests.is_growing ? "this disk is being made longer"
							  : "a job runs on this disk already");
	}
}

static int check_job(struct bpull_disk *disk, const struct bpull_job_options *options,
		     struct err *err)
{
	struct target target = { 0 };
	struct bpull_job_options o;
	struct bpull_disk *worker;
	struct place place;
	int rc = place_find_worker(disk, options, &place, &worker, err);

	if (rc)
		return rc;
	o = place_options(options, disk, &place);
	rc = may_start(worker, &o, &target, err);
	if (!rc && !place.is_commit)
		rc = check_writable(worker, &target, err);
	free(target.base_name);
	if (worker != disk)
		node_free(worker);
	return rc;
}

int bpull_job_check(struct bpull_disk *disk, const struct bpull_job_options *options,
		    struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct engine_yields yields;
	struct bpull_job_options o;
	struct err err = { 0 };
	int rc = begin_call(disk, options, &o, &yields, error);

	if (rc)
		return rc;
	rc = check_job(disk, &o, &err);
	end_starting(disk, &yields);
	return rc ? error_export(&err, error) : 0;
}

/* Allocates what a job needs for its events and sets, so that it can't lack memory for them later.
 * 0 or -ENOMEM. */
static int set_aside(struct bpull_disk *disk, const struct bpull_job_options *o)
{
	if (events_prepare(disk) || (o->flags & BPULL_JOB_VERIFY && verify_open(disk)) ||
	    copy_first_open(&disk->walk->first, o, disk_overlay(disk)->granule_len))
		return -ENOMEM;
	return proof_begin(disk);
}

static int start_job(struct bpull_disk *disk, const struct bpull_job_options *o, struct err *err)
{
	int rc = set_aside(disk, o);

	if (rc)
		err_set(err, rc, "out of memory");
	else
		rc = prepare_job(disk, o, err);
	/* A guest may have written meanwhile. */
	if (!rc && disk->poisoned) {
		job_forget_target(disk);
		rc = err_set(err, disk->poisoned,
			     "a write to the image failed; close it and open it again");
	}
	if (rc) {
		verify_close(disk);
		copy_first_close(&disk->walk->first);
		proof_end(disk);
	}
	return rc;
}

/* The same, of a commit. */
static int start_commit(struct bpull_disk *disk, const struct bpull_job_options *o,
			const struct place *place, struct err *err)
{
	int rc = down_open(disk, place->top ? 1 : 0, place->base - place_depth(place), err);

	if (rc)
		return rc;
	rc = start_job(disk, o, err);
	if (rc)
		down_close(disk);
	return rc;
}

/* The same, on the disk or on a node of it. */
static int start_worker(struct bpull_disk *disk, const struct bpull_job_options *options,
			struct bpull_disk **worker, struct err *err)
{
	struct bpull_job_options o;
	struct place place;
	int rc = place_find_worker(disk, options, &place, worker, err);

	if (rc)
		return rc;
	o = place_options(options, disk, &place);
	if (*worker != disk)
		rc = node_open(*worker, err);
	if (rc) {
		node_free(*worker);
		return rc;
	}
	rc = place.is_commit ? start_commit(*worker, &o, &place, err) : start_job(*worker, &o, err);
	if (rc && *worker != disk)
		node_close(*worker);
	return rc;
}

int bpull_job_start(struct bpull_disk *disk, const struct bpull_job_options *options,
		    struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct engine_yields yields;
	struct bpull_disk *worker;
	struct bpull_job_options o;
	struct err err = { 0 };
	int rc = begin_call(disk, options, &o, &yields, error);

	if (rc)
		return rc;
	rc = start_worker(disk, &o, &worker, &err);
	end_starting(disk, &yields);
	if (rc)
		return error_export(&err, error);
	job_begin(worker, &o);
	engine_wake(disk->engine);
	return 0;
}
