/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A condition in each step was rejected: what a commit does at all had to be gathered from eleven
 * places in two files. */
#include "engine/job/kinds.h"

#include "engine/commit/mixed.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/job/chain/down.h"
#include "engine/job/chain/ends.h"
#include "engine/job/chain/settle.h"
#include "engine/job/steps.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"

/* ---- all kinds ---- */

static void do_nothing(struct bpull_disk *disk)
{
}

static bool is_prepared(struct bpull_disk *disk)
{
	return true;
}

static void detach_link(struct bpull_disk *disk)
{
	disk->job.step = JOB_DETACHING;
}

/* The link leads elsewhere, or is gone. */
static bool finish_link(struct bpull_disk *disk)
{
	return job_close_dropped(disk) && disk_settle_node(disk) && mixed_clear(disk) &&
	       job_finish_flatten(disk) && down_rest(disk) && job_rest_node(disk);
}

/* ---- a pull ---- */

static uint64_t backed_end(const struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);

	return overlay->has_backing ? overlay->backed_len : 0;
}

static bool prepare_tables(struct bpull_disk *disk)
{
	const struct layer *overlay = disk_overlay(disk);

	if (!job_reclaim(disk))
		return false;
	if (overlay->no_tables) {
		job_step_walk_again(disk);
		return false;
	}
	if (!job_reread(disk))
		return false;
	table_cache_drop_clean(disk->engine->cache, overlay->file);
	/* Tables lie between the data, which is not wanted. */
	file_advise_reads(overlay->file, true);
	return true;
}

static const struct job_kind pull = {
	.type = BPULL_JOB_TYPE_PULL,
	.settles_zeros = true,
	.guest_end = backed_end,
	.before_step = do_nothing,
	.prepare_copy = is_prepared,
	.prepare_proof = prepare_tables,
	.end_proving = is_prepared,
	.finalize = detach_link,
	.settle = is_prepared,
	.finish = finish_link,
};

/* ---- commits ---- */

static uint64_t commit_guest_end(const struct bpull_disk *disk)
{
	return disk->walk->down.end;
}

static bool read_back_then_end(struct bpull_disk *disk)
{
	if (verify_has_any(disk)) {
		job_step_verify(disk, JOB_PROVING);
		return false;
	}
	return down_end_proving(disk);
}

static const struct job_kind commit = {
	.type = BPULL_JOB_TYPE_COMMIT,
	.guest_end = commit_guest_end,
	.before_step = down_run,
	.prepare_copy = down_prepare_copy,
	.prepare_proof = is_prepared,
	.end_proving = read_back_then_end,
	.finalize = detach_link,
	.settle = down_settle,
	.finish = finish_link,
};

static const struct job_kind active_commit = {
	.type = BPULL_JOB_TYPE_ACTIVE_COMMIT,
	.pivots = true,
	.guest_end = commit_guest_end,
	.before_step = down_run,
	.prepare_copy = down_prepare_copy,
	.prepare_proof = is_prepared,
	.end_proving = read_back_then_end,
	.finalize = down_finalize,
	.settle = down_settle,
	.finish = down_pivot,
};

const struct job_kind *job_kind_of(const struct bpull_disk *disk)
{
	if (!down_is_on(disk))
		return &pull;
	return down_is_active(disk) ? &active_commit : &commit;
}
