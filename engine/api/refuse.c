/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/api/refuse.h"

#include <errno.h>

#include "engine/api/job_layers.h"
#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/mixed.h"
#include "engine/core/disk.h"
#include "engine/job/ahead/damage.h"
#include "engine/job/ahead/measure.h"
#include "engine/job/chain/down.h"
#include "engine/job/chain/down_open.h"
#include "engine/job/chain/node.h"
#include "engine/job/compression.h"
#include "engine/job/target.h"
#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/medium.h"

/* Refuses a job that may only clone (BPULL_COPY_CLONE), if it is known before the first clone that
 * it can't. */
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
		disk_show(disk, &shown));
}

bool refuse_is_idle(const struct bpull_disk *disk, unsigned pull_to)
{
	return !disk_overlay(disk)->has_backing || pull_to < 2;
}

/* The part that does not depend on where in the chain the worker is. Finds the target. */
static int refuse_start(struct bpull_disk *disk, const struct bpull_job_options *o,
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
	if (rc || refuse_is_idle(disk, target->pull_to))
		return rc;
	rc = layer_refuse(overlay, &overlay->refused.write, err);
	if (!rc)
		rc = mixed_check(disk, o->flags, err);
	if (rc)
		return rc;
	rc = check_copy(disk, o, target->pull_to, err);
	return rc ? rc : compression_check(disk, o, err);
}

int refuse_job_on(struct bpull_disk *worker, const struct bpull_job_options *o,
		  const struct job_layers *layers, bool is_start, struct target *target,
		  struct err *err)
{
	int rc;

	if (worker->flags & BPULL_DISK_READ_ONLY && (is_start || layers->is_commit))
		return err_set(err, -EROFS, "the disk was opened read-only");
	if (o->guest_p99_ns && !(disk_opened(worker)->flags & BPULL_DISK_GUEST_IO))
		return err_set(err, -EINVAL,
			       "guest_p99_ns follows what the disk's guest waits, and the disk was "
			       "opened without one (BPULL_DISK_GUEST_IO)");
	rc = refuse_start(worker, o, target, err);
	if (!rc && worker->nodes.of)
		rc = node_refuse(worker, 0, err);
	if (rc || !layers->is_commit)
		return rc;
	rc = down_refuse(worker, job_layers_from(layers), job_layers_to(layers), err);
	return rc ? rc : node_refuse(worker, job_layers_to(layers), err);
}

/* Any job looks for damage in what it copies before it starts, unless a guest would have to wait
 * for that, or tables of an earlier job are only in memory. */
static bool must_look(struct bpull_disk *worker)
{
	uint32_t flags = disk_opened(worker)->flags;
	bool has_guest = flags & BPULL_DISK_GUEST_IO && !(flags & BPULL_DISK_READ_ONLY);

	return !has_guest && !worker->flatten && commit_is_clean(worker);
}

int refuse_image(struct bpull_disk *worker, const struct bpull_job_options *o,
		 const struct job_layers *layers, bool is_start, struct err *err)
{
	const struct layer *overlay = disk_overlay(worker);
	bool keeps_link = layers->is_commit && !layers->top && !worker->base_name;
	int rc = keeps_link ? 0 : chain_plan_link(worker->chain, worker->base_name, err);

	if (!rc && must_look(worker))
		rc = layers->is_commit ? damage_refuse_down(worker, job_layers_from(layers),
							    job_layers_to(layers), is_start, err)
				       : damage_refuse_job(worker, err);
	if (!rc && !layers->is_commit && (overlay->file->is_block || overlay->data->is_block))
		rc = measure_device(worker, o->compression ? COMPRESSION_SPARE_LEN : 0, err);
	return rc;
}

bool refuse_is_prepared(const struct bpull_disk *disk)
{
	return disk->may_write || !commit_is_clean(disk);
}

static int refuse_layer(const struct layer *layer, struct err *err)
{
	const struct file *file = layer->file->may_not_write ? layer->file : layer->data;

	return file && file->may_not_write
		       ? medium_refuse_user(file->name, file->may_not_write, err)
		       : 0;
}

int refuse_user(const struct bpull_disk *worker, const struct job_layers *layers, struct err *err)
{
	bool is_only_read = worker->nodes.of || worker->flags & BPULL_DISK_READ_ONLY;
	int rc = is_only_read ? refuse_layer(disk_overlay(worker), err) : 0;

	return rc || !layers->is_commit
		       ? rc
		       : refuse_layer(worker->chain->layers[job_layers_to(layers)], err);
}
