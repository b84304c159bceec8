/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The new top of a disk. It is made as a flatten's file is (io/file/new_file.c): a name that is
 * there is an image that is complete and durable. Then it is opened by that name, as it will be the
 * next time.
 *
 * The image below is read again as a backing file, from what is durable, and takes nothing along of
 * what it was while it was written to.
 *
 * Of several for one disk only the last one is opened as an image that is written to. Those between
 * are backing files from the start: nothing was ever written to them.
 */
#include "engine/api/snapshot_top.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/images/create.h"
#include "engine/api/options/open_flags.h"
#include "engine/api/options/options.h"
#include "engine/api/rest.h"
#include "engine/commit/mixed.h"
#include "engine/core/disk.h"
#include "formats/chain/chain.h"
#include "formats/chain/identity.h"
#include "formats/chain/layer_set.h"
#include "formats/chain/rest.h"
#include "formats/chain/top_name.h"
#include "formats/chain/turn.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/new_file.h"
#include "io/file/opener.h"

static bool is_existing(const struct snapshot_top *s)
{
	return s->how.flags & BPULL_SNAPSHOT_EXISTING;
}

static struct file_opener *opener_of(const struct snapshot_top *s)
{
	return layer_set_opener(s->disk->engine->layers);
}

static uint64_t len_of(const struct snapshot_top *s)
{
	return round_up(s->disk->guests.len, 512);
}

/* The layer that the new image reads through to. */
static const struct layer *layer_below(const struct snapshot_top *s)
{
	return s->lower ? s->lower->layer : s->old;
}

/* ---- a new one ---- */

static int refuse_backing_format(const struct snapshot_top *s, struct err *err)
{
	enum image_format format = layer_format(layer_below(s));

	if (!s->create.backing_format || (enum image_format)s->create.backing_format == format)
		return 0;
	return err_set(err, -EINVAL, "the image below '%s' is %s, and not %s", s->how.path,
		       format_name(format), bpull_format_name(s->create.backing_format));
}

/* Writes the image into its file, and gives that its name. *file is the caller's to close, NULL
 * after an error. */
static int write_new(struct snapshot_top *s, struct file **file, struct err *err)
{
	struct bpull_create_options o = s->create;
	autofree char *base_name = NULL;
	int rc = refuse_backing_format(s, err);

	if (!rc)
		rc = chain_name_top(layer_below(s), opener_of(s), s->how.path, o.backing_name,
				    &base_name, err);
	if (rc)
		return rc;
	if (o.creating)
		o.creating(o.user_data);
	rc = new_file_create(opener_of(s), s->how.path, layer_below(s)->file, &s->new_file, file,
			     err);
	if (rc) {
		*file = NULL;
		return rc;
	}
	o.format = o.format ? o.format : BPULL_FORMAT_QCOW2;
	o.backing_name = base_name;
	o.backing_format = (enum bpull_format)layer_format(layer_below(s));
	rc = create_image_in(*file, &o, len_of(s), err);
	if (!rc)
		rc = new_file_publish(s->new_file, *file, err);
	s->is_made = !rc;
	if (rc)
		file_close(STEAL(*file));
	return rc;
}

/* ---- one that is there ---- */

static int refuse_data(struct snapshot_top *s, struct err *err)
{
	struct layer *layer = s->layer;
	struct shown shown;
	struct extent e;

	for (uint64_t at = 0; at < layer->guest_len; at += e.len) {
		int rc = layer_map_now(layer, at, layer->guest_len - at, &e);

		if (rc)
			return err_errno(err, rc, "%s: cannot be mapped at guest offset %#" PRIx64,
					 file_show(layer->file, &shown), at);
		if (e.kind != EXTENT_UNALLOCATED)
			return err_set(err, -EINVAL,
				       "%s: it holds data already, at guest offset %#" PRIx64
				       ", which would hide the disk's: take an image without",
				       file_show(layer->file, &shown), at);
	}
	return 0;
}

static int check_existing(struct snapshot_top *s, struct err *err)
{
	const struct layer *layer = s->layer;
	struct shown shown;
	int rc = layer_refuse(layer, &layer->refused.read, err);

	if (!rc)
		rc = layer_refuse(layer, &layer->refused.write, err);
	if (!rc && layer->has_data_file)
		rc = err_set(err, -ENOTSUP,
			     "%s: it keeps its data in another file, which is not supported here",
			     file_show(layer->file, &shown));
	if (!rc && layer->guest_len != len_of(s))
		rc = err_set(err, -EINVAL,
			     "%s: its disk has %" PRIu64 " bytes, and the disk has %" PRIu64,
			     file_show(layer->file, &shown), layer->guest_len, len_of(s));
	if (!rc)
		rc = chain_check_leads_to_top(layer_below(s), opener_of(s), options_giver(&s->by),
					      s->how.path, layer, err);
	return rc ? rc : refuse_data(s, err);
}

/* ---- opened ---- */

static int open_layer(struct snapshot_top *s, struct err *err)
{
	const struct bpull_disk *disk = s->disk;
	struct chain nothing = { 0 };
	bool is_top = !s->upper;
	struct layer_want want = {
		.name = s->how.path,
		.format = (enum image_format)s->create.format,
		.write = is_top,
		.lock = true,
		.direct = is_top && disk->flags & BPULL_DISK_DIRECT,
		.outlives = disk->engine->io->ops->outlives,
		.holes = open_flags_holes(disk->flags),
		.watch = true,
		.above = &nothing,
		.giver = options_giver(&s->by),
	};
	bool is_new, no_locks;
	int rc = layer_set_take(disk->engine->layers, &want, &s->layer, &is_new, &no_locks, err);

	if (rc) {
		s->layer = NULL;
		return rc;
	}
	if (is_new)
		disk_note_file_opened(s->disk, s->layer->file);
	return 0;
}

/* Between its making and its opening another program may have given the name to another file. */
static int check_same(struct snapshot_top *s, const struct file *made, struct err *err)
{
	struct shown shown;

	if (!made || identity_is_same(made, s->layer->file))
		return 0;
	s->is_made = false;
	return err_set(err, -EBUSY, "%s: another program has replaced the new image",
		       file_show(s->layer->file, &shown));
}

/* The program that made the image need not have synced it, and the guest's first flush might find
 * nothing to do (I9). */
static int sync_existing(const struct snapshot_top *s, struct err *err)
{
	struct shown shown;
	int rc = file_sync(s->layer->file);

	return rc ? err_errno(err, rc, "%s: it could not be made durable",
			      file_show(s->layer->file, &shown))
		  : 0;
}

static int make_ready(struct snapshot_top *s, const struct file *made, struct err *err)
{
	int rc = open_layer(s, err);

	if (!rc)
		rc = check_same(s, made, err);
	if (!rc && is_existing(s))
		rc = check_existing(s, err);
	if (!rc && is_existing(s))
		rc = sync_existing(s, err);
	if (rc || s->upper)
		return rc;
	rc = open_flags_check_direct(s->disk->flags, s->layer, err);
	if (!rc && s->disk->flags & BPULL_DISK_GUEST_IO)
		rc = layer_begin_writing(s->layer, err);
	return rc;
}

int snapshot_top_refuse_depth(const struct snapshot_top *s, struct err *err)
{
	unsigned n = s->disk->chain->n_layers;
	struct shown shown;

	for (const struct snapshot_top *lower = s->lower; lower; lower = lower->lower)
		n++;
	if (n <= CHAIN_MAX_DEPTH)
		return 0;
	return err_set(err, -ELOOP, "%s: it has too many images below it: shorten the chain first",
		       disk_show(s->disk, &shown));
}

int snapshot_top_make(struct snapshot_top *s, struct err *err)
{
	struct file *made = NULL;
	int rc = snapshot_top_refuse_depth(s, err);

	if (rc)
		return rc;
	s->old = disk_overlay(s->disk);
	if (!is_existing(s))
		rc = write_new(s, &made, err);
	if (!rc)
		rc = make_ready(s, made, err);
	file_close(made);
	return rc;
}

int snapshot_top_prepare(struct snapshot_top *s, struct err *err)
{
	if (s->disk->flags & BPULL_DISK_GUEST_IO)
		disk_reclaim(s->disk);
	mixed_mark_closing(s->disk);
	return chain_read_again(s->disk->chain, disk_overlay(s->disk), &s->under, err);
}

static void put_aside(struct snapshot_top *s)
{
	struct chain *chain = s->disk->chain;

	layer_set_replace(chain->set, chain->layers[0], s->under);
	chain->layers[0] = STEAL(s->under);
	chain->layers[0]->is_overlay = false;
}

void snapshot_top_put(struct snapshot_top *s)
{
	struct bpull_disk *disk = s->disk;
	struct err none;

	if (!s->lower)
		put_aside(s);
	if (chain_put_on_top(disk->chain, s->layer, &none))
		abort(); /* snapshot_top_make() looked */
	disk->guests.len = s->layer->guest_len;
	disk->guests.prepare = GUESTS_UNPREPARED;
	disk->may_write = disk->flags & BPULL_DISK_GUEST_IO;
	disk->since_opened.sharing_checked = disk->since_opened.has_copied = false;
	disk->link = (struct link_state){ 0 };
	s->layer = NULL;
	s->is_made = false;
}

void snapshot_top_turn(struct snapshot_top *s)
{
	struct err none = { 0 };
	unsigned n = 0;

	for (const struct snapshot_top *new = s; new; new = new->upper)
		n++;
	/* An error here only says that changes by others might not be noticed; locks keep them
	 * out. */
	chain_turn_read_only(s->disk->chain, n, &none);
}

void snapshot_top_drop(struct snapshot_top *s)
{
	struct bpull_engine *engine = s->disk->engine;

	layer_close(STEAL(s->under));
	if (s->layer)
		layer_set_drop(engine->layers, STEAL(s->layer), disk_note_file_closing, engine);
	if (s->is_made)
		new_file_withdraw(s->new_file);
	new_file_free(STEAL(s->new_file));
}
