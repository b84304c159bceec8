/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flattening into a new file: the pull of a chain whose top is an empty image
 * that was never linked to it. Only in memory does the new image read through
 * to the source. So the job does all that a pull does (limits, holes, zeros,
 * compression, group commits, the proof), and the source stays untouched.
 *
 * The file has another name beside the wanted one until all is durable, and is
 * its owner's alone (io/file/new_file.c); it gets both, name and mode, before COMPLETED.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/api/images/create.h"
#include "engine/api/options/args.h"
#include "engine/api/options/open_flags.h"
#include "engine/api/options/options.h"
#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/flatten.h"
#include "engine/core/lock.h"
#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "formats/raw/raw_new.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/new_file.h"

/* Writes the new, empty image into its file. */
static int fill_temp(struct flatten *f, struct file *file, const struct bpull_create_options *o,
		     uint64_t guest_len, struct err *err)
{
	struct shown shown;
	int rc;

	if (o->format != BPULL_FORMAT_RAW)
		return create_image_in(file, o, guest_len, err);
	rc = create_check_format(o, err);
	if (rc)
		return rc;
	f->raw_len = guest_len;
	rc = file_truncate(file, guest_len);
	return rc ? err_errno(err, rc, "%s: cannot set the length of the new file",
			      new_file_show(f->file, &shown))
		  : 0;
}

/* After an error the caller closes the disk, which removes the file. */
static int create_temp(struct bpull_disk *disk, const char *out_path,
		       const struct bpull_create_options *o, uint64_t guest_len, struct err *err)
{
	struct file_opener *opener = layer_set_opener(disk->engine->layers);
	struct flatten *f = disk->flatten;
	struct file *file;
	int rc = new_file_create(opener, out_path, disk_overlay(disk)->file, &f->file, &file, err);

	if (rc)
		return rc;
	rc = fill_temp(f, file, o, guest_len, err);
	file_close(file);
	return rc;
}

/* Makes the new image the top of the disk's chain. */
static int put_on_top(struct bpull_disk *disk, enum image_format format, struct err *err)
{
	struct flatten *f = disk->flatten;
	struct chain nothing = { 0 };
	struct layer_want want = {
		.name = new_file_temp_path(f->file),
		.format = format,
		.write = true,
		.lock = true,
		.above = &nothing,
	};
	struct layer *layer;
	bool is_new, no_locks;
	int rc = layer_set_take(disk->engine->layers, &want, &layer, &is_new, &no_locks, err);

	if (rc)
		return rc;
	if (format == IMAGE_RAW)
		raw_make_new(layer);
	rc = new_file_set_name(f->file, layer->file);
	rc = rc ? err_set(err, rc, "out of memory") : chain_put_on_top(disk->chain, layer, err);
	if (rc) {
		layer_set_drop(disk->engine->layers, layer, NULL, NULL);
		return rc;
	}
	layer->has_backing = true; /* in memory only */
	disk_note_file_opened(disk, layer->file);
	return 0;
}

static int prepare_flatten(struct bpull_disk *disk, const char *out_path,
			   const struct bpull_create_options *options, struct err *err)
{
	struct bpull_create_options o = *options;
	const struct layer *source = disk_overlay(disk);
	uint64_t guest_len = source->guest_len;
	int rc;

	if (o.format == BPULL_FORMAT_UNKNOWN)
		o.format = (enum bpull_format)layer_format(source);
	if (o.format != BPULL_FORMAT_RAW)
		guest_len = round_up(guest_len, 512);
	disk->flatten = calloc(1, sizeof(*disk->flatten));
	if (!disk->flatten)
		return err_set(err, -ENOMEM, "out of memory");
	rc = create_temp(disk, out_path, &o, guest_len, err);
	return rc ? rc : put_on_top(disk, (enum image_format)o.format, err);
}

int bpull_flatten_open(struct bpull_engine *engine, const char *source_path,
		       const struct bpull_disk_options *source_options, const char *out_path,
		       const struct bpull_create_options *out_options, struct bpull_disk **out,
		       struct bpull_error *error)
{
	ENGINE_SCOPE(engine);
	struct bpull_disk_options source;
	struct engine_yields yields;
	void (*opened)(void *user_data);
	struct bpull_create_options o;
	struct bpull_disk *disk;
	struct err err = { 0 };
	int rc;

	error_begin(error);
	if (is_missing(engine, "engine", error) || is_missing(source_path, "source_path", error) ||
	    is_missing(out_path, "out_path", error) || is_missing(out, "disk", error))
		return -EINVAL;
	rc = options_take(OPEN_FLATTEN, source_options, &source, error);
	if (rc)
		return rc;
	if (!options_import(&o, sizeof(o), out_options) || o.format > OPTIONS_LAST_FORMAT)
		return error_fill(error, -EINVAL, "unknown options for flattening");
	if (o.backing_name || o.backing_format || o.virtual_size || o.empty || o.creating ||
	    o.user_data || o.find_base || o.find_opaque)
		return error_fill(error, -EINVAL,
				  "a flatten's new file has no backing file and the source's size: "
				  "only its format, and what goes with that, can be given");
	opened = source.opened;
	source.opened = NULL;
	source.flags |= BPULL_DISK_READ_ONLY;
	rc = bpull_disk_open(engine, source_path, &source, &disk, error);
	if (rc)
		return rc;
	engine_yields_begin(&yields, engine);
	rc = prepare_flatten(disk, out_path, &o, &err);
	engine_yields_end(&yields);
	if (rc) {
		bpull_disk_close(disk);
		return error_export(&err, error);
	}
	if (opened)
		opened(source.user_data);
	disk->guests.len = disk_overlay(disk)->guest_len;
	/* The job writes to the top; there is no guest that could. */
	disk->flags &= ~BPULL_DISK_READ_ONLY;
	*out = disk;
	return 0;
}
