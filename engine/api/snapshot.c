/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Snapshots of open disks: all of them get their new images, or none. A disk gets several where
 * each is to lie on the one before; the last one is its image then.
 *
 *   MAKE     the new images: durable, open, ready to be written to; the guests go on
 *   FLUSH    most of what was written is made durable; the guests go on
 *   HOLD     the guests: what runs ends, what comes waits
 *   SETTLE   all that was written is durable (I9), space that was let go is given back
 *   PREPARE  alone with the images: what else can fail
 *   PUT      in memory, all disks at once: nothing can fail
 *   TURN     the images below give back the locks of a writer, and are watched
 *   RELEASE  the guests go on
 *
 * The guests wait from HOLD on: for their own requests, and for what they have written since FLUSH
 * began. One FLUSH and no more: a guest that writes makes more while the next one runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/options/args.h"
#include "engine/api/options/options.h"
#include "engine/api/rest.h"
#include "engine/api/snapshot_top.h"
#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/guest/hold.h"
#include "engine/job/round.h"
#include "formats/core/layer.h"
#include "formats/core/layer_shared.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

struct snapshots {
	struct bpull_engine *engine;
	struct snapshot_top *tops;
	struct snapshot_top **lowest; /* of each disk */
	unsigned n, n_disks;
};

/* ---- what is asked for ---- */

static int refuse_create(const struct snapshot_top *s, struct err *err)
{
	const struct bpull_create_options *o = &s->create;
	bool existing = s->how.flags & BPULL_SNAPSHOT_EXISTING;
	struct bpull_create_options known = { .size = o->size, .format = o->format };

	if (o->format != BPULL_FORMAT_UNKNOWN && o->format != BPULL_FORMAT_QCOW2 &&
	    o->format != BPULL_FORMAT_QED)
		return err_set(err, -EINVAL, "only qcow2 and qed images can be overlays");
	if (o->empty || o->find_base || o->find_opaque)
		return err_set(
			err, -EINVAL,
			"a snapshot's new image has the disk's size and its image as backing "
			"file: empty and find_base do not go with it");
	if (existing && memcmp(&known, o, sizeof(known)))
		return err_set(err, -EINVAL,
			       "an image that exists is not created: only its format can be given");
	return 0;
}

static int refuse_geometry(const struct snapshot_top *s, struct err *err)
{
	const struct bpull_create_options *o = &s->create;

	if (o->virtual_size && o->virtual_size != round_up(s->disk->guests.len, 512))
		return err_set(err, -EINVAL,
			       "a snapshot does not change the disk's size: it has %llu bytes",
			       (unsigned long long)s->disk->guests.len);
	return 0;
}

/* Refuses by the disk's state, which is asked again after each wait: whenever this thread waits
 * another one may have changed it. */
static int refuse_snapshot(const struct snapshot_top *s, struct err *err)
{
	const struct bpull_disk *disk = s->disk;
	struct shown shown;
	const char *name = disk_show(disk, &shown);

	if (disk->flatten)
		return err_set(err, -EINVAL, "%s: a file that is still being made has no snapshot",
			       name);
	if (disk->flags & BPULL_DISK_READ_ONLY)
		return err_set(err, -EINVAL, "%s: the disk was opened read-only", name);
	if (disk->guests.rest != DISK_ACTIVE)
		return err_set(err, -EPERM, "%s: the disk is inactive: activate it first", name);
	if (disk_has_job(disk))
		return err_set(err, -EBUSY,
			       "%s: a job runs on this disk: abort it, or wait for its end", name);
	if (disk->poisoned)
		return err_set(err, -EIO,
			       "%s: a write to the image failed; close it and open it again", name);
	if (s->old && s->old != disk_overlay(disk))
		return err_set(err, -EBUSY, "%s: the disk has got another image meanwhile", name);
	if (s->layer && s->layer->guest_len != round_up(disk->guests.len, 512))
		return err_set(err, -EBUSY, "%s: the disk has got another size meanwhile", name);
	return 0;
}

/* The program opens all of a disk's files, or none: otherwise nothing tells where a name leads. */
static int refuse_opening(const struct snapshot_top *s, struct err *err)
{
	if (!s->how.open_file)
		return s->how.open_opaque
			       ? err_set(err, -EINVAL,
					 "open_opaque is for open_file, which is missing")
			       : 0;
	if (!(s->how.flags & BPULL_SNAPSHOT_EXISTING))
		return err_set(err, -EINVAL,
			       "open_file is for an image that exists (BPULL_SNAPSHOT_EXISTING)");
	if (!disk_overlay(s->disk)->file->is_given)
		return err_set(err, -EINVAL,
			       "open_file is for a disk whose files the program opened, too; this "
			       "disk's were opened by their names");
	return 0;
}

static int take_one(struct snapshot_top *s, const void *given, struct err *err)
{
	if (!options_import(&s->how, sizeof(s->how), given) ||
	    s->how.flags & ~(uint32_t)BPULL_SNAPSHOT_EXISTING)
		return err_set(err, -EINVAL, "unknown options of a snapshot");
	if (!s->how.disk || !s->how.path)
		return err_set(err, -EINVAL, "%s of a snapshot is NULL",
			       s->how.disk ? "path" : "disk");
	if (!options_import(&s->create, sizeof(s->create), s->how.create) ||
	    s->create.backing_format > OPTIONS_LAST_FORMAT)
		return err_set(err, -EINVAL, "unknown options of a new image");
	s->disk = s->how.disk;
	s->by.open_file = s->how.open_file;
	s->by.open_opaque = s->how.open_opaque;
	return refuse_create(s, err);
}

static void find_lower(struct snapshots *all, unsigned i)
{
	struct snapshot_top *s = &all->tops[i];

	for (unsigned j = 0; j < i; j++)
		if (all->tops[j].disk == s->disk)
			s->lower = &all->tops[j];
	if (s->lower)
		s->lower->upper = s;
	else
		all->lowest[all->n_disks++] = s;
}

/* The program's structs are an array of elements as long as its version of the struct is. */
static int take_arguments(struct snapshots *all, const struct bpull_snapshot *given,
			  struct err *err)
{
	for (unsigned i = 0; i < all->n; i++) {
		struct snapshot_top *s = &all->tops[i];
		int rc = take_one(s, (const char *)given + i * given->size, err);

		if (rc)
			return rc;
		if (s->how.size != given->size)
			return err_set(err, -EINVAL, "snapshots of one call differ in size");
		find_lower(all, i);
		if (s->disk->engine != all->tops[0].disk->engine)
			return err_set(err, -EINVAL,
				       "disks of different engines can't have snapshots together");
	}
	return 0;
}

/* ---- MAKE ---- */

static int make_all(struct snapshots *all, struct err *err)
{
	struct engine_yields yields;
	int rc = 0;

	for (unsigned i = 0; !rc && i < all->n; i++) {
		rc = refuse_snapshot(&all->tops[i], err);
		if (!rc)
			rc = refuse_opening(&all->tops[i], err);
		if (!rc)
			rc = refuse_geometry(&all->tops[i], err);
		if (!rc)
			rc = snapshot_top_refuse_depth(&all->tops[i], err);
	}
	engine_yields_begin(&yields, all->engine);
	for (unsigned i = 0; !rc && i < all->n; i++)
		rc = snapshot_top_make(&all->tops[i], err);
	engine_yields_end(&yields);
	return rc;
}

/* ---- FLUSH ---- */

static bool may_flush(const struct bpull_disk *disk)
{
	return disk->may_write && !disk->poisoned && !disk->exclusive && !disk_has_job(disk) &&
	       !commit_is_running(disk) && !commit_is_clean(disk);
}

/* Waits for the commit of that number only, not for later ones. SETTLE sees whether it failed. */
static void await_flush(const struct bpull_disk *disk, uint64_t number)
{
	while (disk->commits.n_begun == number && commit_will_end(disk))
		engine_wait_round(disk->engine, UINT64_MAX);
}

static void flush_all(const struct snapshots *all)
{
	for (unsigned i = 0; i < all->n_disks; i++)
		if (may_flush(all->lowest[i]->disk))
			commit_begin(all->lowest[i]->disk, COMMIT_HARD);
	engine_rerun(all->engine);
	for (unsigned i = 0; i < all->n_disks; i++)
		await_flush(all->lowest[i]->disk, all->lowest[i]->disk->commits.n_begun);
}

/* ---- HOLD, SETTLE ---- */

static bool any_is_held(const struct snapshots *all)
{
	for (unsigned i = 0; i < all->n_disks; i++)
		if (all->lowest[i]->disk->guests.hold.is_on)
			return true;
	return false;
}

/* Holds all disks at once, or two calls could each wait for a disk that the other holds. */
static void hold_all(const struct snapshots *all)
{
	while (any_is_held(all))
		engine_wait_round(all->engine, UINT64_MAX);
	for (unsigned i = 0; i < all->n_disks; i++)
		guest_hold(all->lowest[i]->disk);
}

static void release_all(const struct snapshots *all)
{
	for (unsigned i = 0; i < all->n_disks; i++)
		guest_release(all->lowest[i]->disk);
}

/* No other call looks at the disk's tables, and no guest request or copy after one is in flight. */
static bool is_alone(const struct bpull_disk *disk)
{
	return guest_is_held_quiet(disk) && !disk->exclusive && !disk->n_walking && !disk->nodes.n;
}

static bool is_settled(const struct bpull_disk *disk)
{
	return !disk->may_write || (commit_is_clean(disk) && !disk_is_busy(disk));
}

/* 0: all that was written to the disk is durable. -EAGAIN: not yet. Else -errno with a sentence. */
static int settle_one(const struct snapshot_top *s, struct err *err)
{
	struct bpull_disk *disk = s->disk;
	int rc = refuse_snapshot(s, err);

	if (rc)
		return rc;
	if (is_alone(disk) && is_settled(disk))
		return 0;
	if (!is_alone(disk) || !disk->may_write || commit_is_clean(disk))
		return -EAGAIN;
	disk_settle(disk);
	engine_rerun(disk->engine); /* settle_all() looks again, also if nothing is in flight */
	if (is_alone(disk) && !commit_is_clean(disk))
		return disk_say_not_durable(disk, "it has no snapshot", err);
	return -EAGAIN;
}

/* Settles all disks. After 0 no other call may touch the images: disk.exclusive. */
static int settle_all(const struct snapshots *all, struct err *err)
{
	engine_rerun(all->engine); /* requests that were just submitted begin in the next round */
	for (;;) {
		bool again = false;

		for (unsigned i = 0; i < all->n_disks; i++) {
			int rc = settle_one(all->lowest[i], err);

			if (rc && rc != -EAGAIN)
				return rc;
			again |= rc == -EAGAIN;
		}
		if (!again)
			break;
		engine_wait_round(all->engine, UINT64_MAX);
	}
	for (unsigned i = 0; i < all->n_disks; i++)
		all->lowest[i]->disk->exclusive = true;
	return 0;
}

/* ---- PREPARE, PUT, TURN ---- */

static int change_all(const struct snapshots *all, struct err *err)
{
	struct engine_yields yields;
	int rc = 0;

	engine_yields_begin(&yields, all->engine);
	for (unsigned i = 0; !rc && i < all->n_disks; i++)
		rc = snapshot_top_prepare(all->lowest[i], err);
	if (!rc) {
		for (unsigned i = 0; i < all->n; i++)
			snapshot_top_put(&all->tops[i]);
		for (unsigned i = 0; i < all->n_disks; i++)
			snapshot_top_turn(all->lowest[i]);
	}
	engine_yields_end(&yields);
	for (unsigned i = 0; i < all->n_disks; i++)
		disk_end_exclusive(all->lowest[i]->disk);
	return rc;
}

static int take_snapshots(struct snapshots *all, struct err *err)
{
	ENGINE_SCOPE(all->engine);
	struct engine_yields yields;
	int rc = make_all(all, err);

	if (!rc) {
		flush_all(all);
		hold_all(all);
		rc = settle_all(all, err);
		if (!rc)
			rc = change_all(all, err);
		release_all(all);
	}
	engine_yields_begin(&yields, all->engine);
	for (unsigned i = all->n; i-- > 0;) /* an image is gone before the one that it names */
		snapshot_top_drop(&all->tops[i]);
	engine_yields_end(&yields);
	return rc;
}

int bpull_disk_snapshot(const struct bpull_snapshot *snapshots, unsigned n,
			struct bpull_error *error)
{
	struct snapshots all = { .n = n };
	struct err err = { 0 };
	int rc;

	error_begin(error);
	if (!n)
		return 0;
	if (is_missing(snapshots, "snapshots", error))
		return -EINVAL;
	all.tops = calloc(n, sizeof(*all.tops));
	all.lowest = calloc(n, sizeof(struct snapshot_top *));
	rc = all.tops && all.lowest ? take_arguments(&all, snapshots, &err)
				    : err_set(&err, -ENOMEM, "out of memory");
	if (!rc) {
		all.engine = all.tops[0].disk->engine;
		rc = take_snapshots(&all, &err);
	}
	free(all.lowest);
	free(all.tops);
	return rc ? error_export(&err, error) : 0;
}
