/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A longer disk: what can be known without writing is refused at once, with a sentence; then it is
 * a request like a guest's.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "engine/api/guest.h"
#include "engine/api/options/args.h"
#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/guest/submit.h"
#include "engine/job/round.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_resize.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define SECTOR_LEN 512u

static int refuse_state(const struct bpull_disk *disk, struct err *err)
{
	if (disk->flags & BPULL_DISK_READ_ONLY)
		return err_set(err, -EROFS, "the disk was opened read-only");
	if (!(disk->flags & BPULL_DISK_GUEST_IO))
		return err_set(err, -EINVAL, "the disk was not opened for a guest");
	if (disk->guests.rest != DISK_ACTIVE)
		return err_set(err, -EPERM, "the disk is inactive: activate it first");
	if (disk->guests.is_growing)
		return err_set(err, -EBUSY, "this disk is being made longer already");
	if (disk_has_job(disk) || disk->exclusive)
		return err_set(err, -EBUSY,
			       "a job runs on this disk: abort it, or wait for its end");
	if (disk->poisoned)
		return err_set(err, -EIO,
			       "a write to the image failed; close it and open it again");
	return 0;
}

static int refuse_len(const struct bpull_disk *disk, uint64_t len, struct err *err)
{
	const struct layer *overlay = disk_overlay(disk);
	struct shown shown;
	const char *name = file_show(overlay->file, &shown);

	if (len < disk->guests.len)
		return err_set(err, -ENOTSUP,
			       "%s: its disk has %" PRIu64 " bytes, and can't be made shorter",
			       name, disk->guests.len);
	if (!is_aligned(len, SECTOR_LEN) && len != disk->guests.len)
		return err_set(err, -EINVAL, "%s: %" PRIu64 " bytes are not a multiple of %u", name,
			       len, SECTOR_LEN);
	if (len > INT64_MAX - GiB)
		return err_set(err, -EFBIG, "%s: no disk can have %" PRIu64 " bytes", name, len);
	return 0;
}

/* Refuses a length at which the backing file would show and can't be hidden, or for which a device
 * is too small. */
static int refuse_layers(const struct bpull_disk *disk, uint64_t len, struct err *err)
{
	const struct chain *chain = disk->chain;
	const struct layer *overlay = disk_overlay(disk);
	struct shown shown;

	if (chain->n_layers > 1 && overlay->has_backing && !overlay->has_zero_entries &&
	    chain->layers[1]->guest_len > disk->guests.len)
		return err_set(err, -ENOTSUP,
			       "%s: its backing file is longer than its disk, and what that holds "
			       "there can't be hidden in an image of this version: make it version "
			       "3 (compat=1.1), or pull it first",
			       file_show(overlay->file, &shown));
	if (disk_has_data_file(disk) && overlay->data->is_block && overlay->data->len < len)
		return err_set(err, -ENOSPC, "%s: the device is smaller than the disk would be",
			       file_show(overlay->data, &shown));
	return 0;
}

/* *g: the request that makes the disk longer, or a flush if it has that length already. First waits
 * while requests are held, since the disk may get other layers then. */
static int new_resize(struct bpull_disk *disk, uint64_t len, struct guest **g, struct err *err)
{
	int rc;

	while (disk->guests.hold.is_on && disk->engine->thread.is_on)
		engine_wait_round(disk->engine, UINT64_MAX);
	rc = refuse_state(disk, err);
	if (!rc)
		rc = refuse_len(disk, len, err);
	if (!rc && len > disk->guests.len) {
		rc = layer_may_grow(disk_overlay(disk), len, err);
		if (!rc)
			rc = refuse_layers(disk, len, err);
	}
	if (rc)
		return rc;
	*g = len > disk->guests.len ? guest_new_grow(disk, len)
				    : guest_new_range(disk, GUEST_FLUSH, 0, 0, 0);
	return *g ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int bpull_disk_resize(struct bpull_disk *disk, uint64_t len, void *user_data,
		      struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct err err = { 0 };
	struct guest *g;

	error_begin(error);
	if (is_missing(disk, "disk", error))
		return -EINVAL;
	if (new_resize(disk, len, &g, &err))
		return error_export(&err, error);
	g->user_data = user_data;
	guest_submit(g);
	return 0;
}

int bpull_presize(struct bpull_disk *disk, uint64_t len, struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct err err = { 0 };
	struct shown shown;
	struct guest *g;
	int rc;

	error_begin(error);
	if (is_missing(disk, "disk", error))
		return -EINVAL;
	if (!guest_may_wait(disk))
		return error_fill(error, -EINVAL,
				  "the engine has no thread of its own (BPULL_ENGINE_THREAD)");
	if (new_resize(disk, len, &g, &err))
		return error_export(&err, error);
	rc = guest_run_and_wait(g, NULL);
	if (!rc)
		return 0;
	err_set(&err, rc, "%s: its disk could not be made %" PRIu64 " bytes long: %s",
		disk_show(disk, &shown), len, strerror(-rc));
	return error_export(&err, error);
}
