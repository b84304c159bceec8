/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs as the program starts them: what forbids one is found, and said, before anything of the
 * image is changed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/api/options/args.h"
#include "engine/api/options/job_options.h"
#include "engine/api/job_layers.h"
#include "engine/api/refuse.h"
#include "engine/api/rest.h"
#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/copy/walk/first.h"
#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/job/ahead/left_count.h"
#include "engine/job/chain/down.h"
#include "engine/job/chain/down_open.h"
#include "engine/job/chain/dropped.h"
#include "engine/job/chain/node.h"
#include "engine/job/compression.h"
#include "engine/job/idle.h"
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

static bool is_running(struct bpull_disk *disk)
{
	bool running;

	pthread_mutex_lock(&disk->control.mutex);
	running = disk->control.running;
	pthread_mutex_unlock(&disk->control.mutex);
	return running;
}

static int begin_writing(struct bpull_disk *disk, struct err *err)
{
	int rc = layer_begin_writing(disk_overlay(disk), err);

	if (!rc)
		disk_began_writing(disk);
	return rc;
}

static int prepare_image(struct bpull_disk *disk, const struct bpull_job_options *o,
			 struct err *err)
{
	struct layer *overlay = disk_overlay(disk);
	bool was_prepared = refuse_is_prepared(disk);
	int rc = 0;

	if (down_is_active(disk)) {
		rc = was_prepared ? 0 : begin_writing(disk, err);
		return !rc && disk->base_name ? chain_plan_link(disk->chain, disk->base_name, err)
					      : rc;
	}
	if (!was_prepared)
		rc = begin_writing(disk, err);
	else if (!disk->may_write)
		overlay->note[0] = 0;
	if (!rc && o->compression != BPULL_COMPRESSION_NONE)
		rc = compression_set(disk, o, err);
	if (!rc)
		rc = chain_plan_link(disk->chain, disk->base_name, err);
	if (!rc && !down_is_on(disk)) /* what a pull would copy; a commit estimates */
		left_count(disk, o->within_ns);
	return rc;
}

/* Reserves the image for this call (disk.exclusive), and lets other threads in from now on. A guest
 * may go on writing, but no request writes the header. -EBUSY: a job runs, or the disk is being
 * made longer. -EPERM: the disk is inactive. */
static int begin_starting(struct bpull_disk *disk, struct engine_yields *yields)
{
	do {
		while (!is_running(disk) && (disk->exclusive || disk->n_walking))
			engine_wait_round(disk->engine, UINT64_MAX);
		disk_wait_for_nodes(disk); /* meanwhile another call may reserve the image */
	} while (!is_running(disk) && (disk->exclusive || disk->n_walking));
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

/* Refuses what the files of a worker with a target hold. 0 if there is nothing to pull. */
static int look_ahead(struct bpull_disk *worker, const struct bpull_job_options *o,
		      const struct job_layers *layers, bool is_start, struct err *err)
{
	if (refuse_is_idle(worker, worker->chain->pull_to))
		return 0;
	left_begin(&worker->job.left, disk_overlay(worker)->backed_len);
	return refuse_image(worker, o, layers, is_start, err);
}

/* The common beginning of a dry run and a start. After 0, end_starting() must follow. */
static int begin_call(struct bpull_disk *disk, const struct bpull_job_options *options,
		      struct bpull_job_options *o, struct engine_yields *yields,
		      struct bpull_error *error)
{
	error_begin(error);
	if (is_missing(disk, "disk", error))
		return -EINVAL;
	if (job_options_take(options, o, error))
		return -EINVAL;
	switch (begin_starting(disk, yields)) {
	case 0: return 0;
	case -EPERM: return error_fill(error, -EPERM, "the disk is inactive: activate it first");
	default:
		return error_fill(error, -EBUSY, "%s",
				  disk->guests.is_growing ? "this disk is being made longer"
							  : "a job runs on this disk already");
	}
}

static int check_worker(struct bpull_disk *worker, const struct bpull_job_options *o,
			const struct job_layers *layers, struct err *err)
{
	struct target target = { 0 };
	int rc = refuse_job_on(worker, o, layers, false, &target, err);

	if (!rc)
		rc = refuse_user(worker, layers, err);
	if (!rc) {
		/* For the look only: no job runs, whose target this would replace. */
		job_take_target(worker, &target);
		rc = look_ahead(worker, o, layers, false, err);
		job_forget_target(worker);
	}
	free(target.base_name);
	return rc;
}

static int check_job(struct bpull_disk *disk, const struct bpull_job_options *options,
		     struct err *err)
{
	struct bpull_job_options o;
	struct bpull_disk *worker;
	struct job_layers layers;
	int rc = job_layers_find_worker(disk, options, &layers, &worker, err);

	if (rc)
		return rc;
	o = job_layers_options(options, disk, &layers);
	rc = check_worker(worker, &o, &layers, err);
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
	if (events_prepare(disk) || dropped_begin(disk) ||
	    (o->flags & BPULL_JOB_VERIFY && verify_open(disk)) ||
	    copy_first_open(&disk->walk->first, o, disk_overlay(disk)->granule_len))
		return -ENOMEM;
	return proof_begin(disk);
}

static int start_job(struct bpull_disk *disk, const struct bpull_job_options *o, struct err *err)
{
	int rc = set_aside(disk, o);

	if (rc)
		err_set(err, rc, "out of memory");
	else if (refuse_is_idle(disk, disk->chain->pull_to))
		rc = idle_make_durable(disk, err);
	else
		rc = prepare_image(disk, o, err);
	/* A guest may have written meanwhile. */
	if (!rc && disk->poisoned) {
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

/* start_job() for a commit. */
static int start_commit(struct bpull_disk *disk, const struct bpull_job_options *o,
			const struct job_layers *layers, struct err *err)
{
	int rc = down_open(disk, job_layers_from(layers), job_layers_to(layers), err);

	if (rc)
		return rc;
	rc = start_job(disk, o, err);
	if (rc)
		down_close(disk);
	return rc;
}

/* Refuses what forbids the job; else takes the target, and opens a node for writing. */
static int open_worker(struct bpull_disk *worker, const struct bpull_job_options *o,
		       const struct job_layers *layers, struct err *err)
{
	struct target target = { 0 };
	int rc = refuse_job_on(worker, o, layers, true, &target, err);

	if (!rc) {
		job_take_target(worker, &target);
		rc = look_ahead(worker, o, layers, true, err);
	}
	if (!rc && worker->nodes.of)
		rc = node_open(worker, err);
	free(target.base_name);
	return rc;
}

/* Starts a pull or a commit on the worker, the disk or a node of it, which is freed after an
 * error. */
static int start_on(struct bpull_disk *worker, const struct bpull_job_options *o,
		    const struct job_layers *layers, struct err *err)
{
	bool is_open = false;
	int rc = open_worker(worker, o, layers, err);

	if (!rc) {
		is_open = worker->nodes.of;
		rc = layers->is_commit ? start_commit(worker, o, layers, err)
				       : start_job(worker, o, err);
	}
	if (rc)
		job_forget_target(worker);
	if (rc && worker->nodes.of)
		(is_open ? node_close : node_free)(worker);
	return rc;
}

static int start_worker(struct bpull_disk *disk, const struct bpull_job_options *options,
			struct bpull_disk **worker, struct err *err)
{
	struct bpull_job_options o;
	struct job_layers layers;
	int rc = job_layers_find_worker(disk, options, &layers, worker, err);

	if (rc)
		return rc;
	o = job_layers_options(options, disk, &layers);
	return start_on(*worker, &o, &layers, err);
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
