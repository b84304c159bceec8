/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The type of an overlay's compressed clusters, which a job may set before its first write: one
 * type for the whole image, named in its header.
 */
#include "engine/job/compression.h"

#include <errno.h>

#include "engine/blockpull.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/job/round.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"

/* Refuses to change the type while tables of an earlier job wait for room: what they lead to may be
 * compressed, which no look at the disk finds. */
static int ask_or_set(struct bpull_disk *disk, const struct bpull_job_options *o, bool is_for_good,
		      struct err *err)
{
	enum layer_compression type = (enum layer_compression)o->compression;
	struct layer *overlay = disk_overlay(disk);
	struct shown shown;
	bool is_unknown;
	int rc;

	if (commit_is_stalled(disk) && layer_has_other_compression(overlay, type))
		return err_set(err, commit_stall_error(disk),
			       "%s: its compression type can't change while tables wait to be "
			       "written; make room, and flush the disk or leave the type as it is",
			       file_show(overlay->file, &shown));
	if (!is_for_good)
		return layer_may_compress(overlay, type, o->compression_level, err);
	rc = layer_set_compression(overlay, type, &is_unknown, err);
	if (is_unknown)
		disk->poisoned = rc;
	return rc;
}

/* Both steps look at every table on disk, and the second writes the header, as a writing guest's
 * commits do: so none runs meanwhile, and the guest's flushes wait. A commit that found no space
 * does not end; then no other thread is let in. */
static int alone(struct bpull_disk *disk, const struct bpull_job_options *o, bool is_for_good,
		 struct err *err)
{
	struct blocking *others;
	int rc;

	if (!disk->may_write)
		return ask_or_set(disk, o, is_for_good, err);
	commit_hold(disk);
	while (commit_will_end(disk))
		engine_wait_round(disk->engine, UINT64_MAX);
	others = blocking_set(NULL);
	if (!commit_is_stalled(disk))
		blocking_set(others);
	rc = ask_or_set(disk, o, is_for_good, err);
	blocking_set(others);
	commit_release(disk);
	return rc;
}

int compression_check(struct bpull_disk *disk, const struct bpull_job_options *o, struct err *err)
{
	const struct layer *overlay = disk_overlay(disk);
	struct shown shown;

	if (o->compression == BPULL_COMPRESSION_NONE)
		return 0;
	if (!layer_can_compress(overlay))
		return err_set(err, -ENOTSUP,
			       "%s: %s images have no compressed clusters; leave compression out",
			       file_show(overlay->file, &shown), layer_format_name(overlay));
	return alone(disk, o, false, err);
}

int compression_set(struct bpull_disk *disk, const struct bpull_job_options *o, struct err *err)
{
	return alone(disk, o, true, err);
}
