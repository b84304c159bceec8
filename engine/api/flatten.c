/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flattening into a new file: the pull of a chain whose top is an empty image
 * that was never linked to it. Only in memory does the new image read through
 * to the source; so everything a pull does (limits, holes, zeros, compression,
 * group commits, the proof) is done for it, and the source stays untouched.
 *
 * The file has a name of its own beside the wanted one until all is durable;
 * then it is renamed, and the directory synced, before COMPLETED. A name that
 * exists is never replaced, even one that appeared meanwhile. Writing to the
 * wanted name at once was rejected: a crash would leave what looks done. That
 * the directory lets a file be renamed is tried before anything is copied.
 *
 * The file is its owner's alone until it is done: then it gets the mode of the
 * source, which may be secret, or not to be written to.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/api/args.h"
#include "engine/api/create.h"
#include "engine/api/open_flags.h"
#include "engine/api/options.h"
#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/flatten.h"
#include "engine/core/lock.h"
#include "engine/job/flatten.h"
#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "formats/raw/raw_new.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/posix_dir.h"
#include "io/posix_file.h"

#define NAME_TRIES   16
#define TEMP_KEPT    200 /* bytes of the wanted name in a temporary one */
#define TEMP_PRIVATE 0600

/* ---- the new file ---- */

/* At most this many bytes of a name, in whole characters: some file systems take no parts of
 * one. */
static int kept_of(const char *name, size_t cap)
{
	size_t len = strlen(name);

	if (len <= cap)
		return (int)len;
	for (len = cap; len && ((unsigned char)name[len] & 0xc0) == 0x80;)
		len--;
	return (int)len;
}

static int name_temp(struct flatten *f)
{
	const char *last = posix_last(f->out_name);
	uint32_t salt;

	free(f->temp_name);
	f->temp_name = NULL;
	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return -errno;
	return asprintf(&f->temp_name, "%.*s.%.*s.blockpull-%08x", (int)(last - f->out_name),
			f->out_name, kept_of(last, f->kept), last, salt) < 0
		       ? -ENOMEM
		       : 0;
}

static int check_free(const char *name, struct err *err)
{
	const char *slash = strrchr(name, '/');
	autofree char *dir = slash ? strndup(name, slash + 1 - name) : strdup(".");
	struct stat st;
	char shown[512];

	if (!*name)
		return err_set(err, -EINVAL, "the new file's name is empty: give it one");
	err_escape(name, strlen(name), shown, sizeof(shown));
	if (!lstat(name, &st))
		return err_set(err, -EEXIST,
			       "'%s' exists already and is left alone: remove it, or choose "
			       "another name",
			       shown);
	if (errno != ENOENT)
		return err_errno(err, -errno, "cannot create '%s'", shown);
	if (dir && stat(dir, &st))
		return err_set(err, -ENOENT,
			       "cannot create '%s': the directory it would lie in does not exist",
			       shown);
	return 0;
}

/* An empty file, its owner's alone, under a name that is free. The name is left in *f only if the
 * file exists. */
static int create_empty(struct flatten *f, mode_t mode, struct file **file, struct err *err)
{
	int rc = -EEXIST;

	f->kept = TEMP_KEPT;
	for (unsigned i = 0; (rc == -EEXIST || rc == -ENAMETOOLONG) && i < NAME_TRIES; i++) {
		*err = (struct err){ 0 };
		f->kept = rc == -ENAMETOOLONG ? 0 : f->kept;
		rc = name_temp(f);
		if (rc)
			return err_errno(err, rc, "cannot make a temporary name");
		rc = posix_create(f->temp_name, mode, file, err);
	}
	if (rc) {
		free(f->temp_name);
		f->temp_name = NULL;
	}
	return rc;
}

/* Learns by trying: the file gets another temporary name. */
static int try_rename(struct flatten *f, struct file *file, struct err *err)
{
	char *old = STEAL(f->temp_name), shown[512];
	int rc = name_temp(f);

	if (!rc)
		rc = posix_dir_rename(&f->dir, file->fd, posix_last(old), posix_last(f->temp_name));
	if (!rc && posix_dir_has(&f->dir, posix_last(old))) {
		flatten_remove_name(f, f->temp_name);
		rc = -EACCES;
	}
	if (!rc) {
		free(old);
		return 0;
	}
	free(f->temp_name);
	f->temp_name = old;
	return err_errno(err, rc,
			 "cannot create '%s': a finished file can't be given its name there: "
			 "choose another directory",
			 err_escape(f->out_name, strlen(f->out_name), shown, sizeof(shown)));
}

/* The mode that the finished file is to have. */
static int choose_mode(struct flatten *f, const struct file *source, struct err *err)
{
	struct shown shown;
	int rc = posix_mode(source->fd, &f->mode);

	return rc ? err_errno(err, rc, "%s: cannot find its mode", file_show(source, &shown)) : 0;
}

/* A device's mode is a rule of the machine: the file gets of it what a new file may have. */
static mode_t create_mode(const struct flatten *f, const struct file *source)
{
	return source->is_block ? f->mode & 0666 : TEMP_PRIVATE;
}

/* File systems without modes refuse it, and nothing is lost by that. */
static void make_private(struct flatten *f, const struct file *source, const struct file *file)
{
	struct stat st;

	if (source->is_block && !fstat(file->fd, &st))
		f->mode = st.st_mode & 0777;
	if (fchmod(file->fd, TEMP_PRIVATE))
		errno = 0;
}

/* The new image, as yet of nothing, in its file. */
static int fill_temp(struct flatten *f, struct file *file, const struct bpull_create_options *o,
		     uint64_t guest_len, struct err *err)
{
	char shown[512];
	int rc;

	if (o->format != BPULL_FORMAT_RAW)
		return create_image_in(file, o, guest_len, err);
	f->raw_len = guest_len;
	rc = file_truncate(file, guest_len);
	return rc ? err_errno(err, rc, "%s: cannot set the length of the new file",
			      err_escape(f->out_name, strlen(f->out_name), shown, sizeof(shown)))
		  : 0;
}

static int create_temp(struct flatten *f, const struct file *source,
		       const struct bpull_create_options *o, uint64_t guest_len, struct err *err)
{
	struct file *file;
	int rc = choose_mode(f, source, err);

	if (!rc)
		rc = create_empty(f, create_mode(f, source), &file, err);
	if (rc)
		return rc;
	make_private(f, source, file);
	rc = try_rename(f, file, err);
	if (!rc)
		rc = fill_temp(f, file, o, guest_len, err);
	file_close(file);
	return rc; /* after an error the disk is closed, and the file removed */
}

/* The new image becomes the top of the disk's chain. */
static int put_on_top(struct bpull_disk *disk, enum image_format format, struct err *err)
{
	struct flatten *f = disk->flatten;
	struct chain nothing = { 0 };
	struct layer_want want = {
		.name = f->temp_name,
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
	rc = chain_put_on_top(disk->chain, layer, err);
	if (rc) {
		layer_set_drop(disk->engine->layers, layer, NULL, NULL);
		return rc;
	}
	layer->has_backing = true; /* in memory only */
	disk_note_file_opened(disk, layer->file);
	return 0;
}

static int prepare(struct bpull_disk *disk, const char *out_path,
		   const struct bpull_create_options *options, struct err *err)
{
	struct bpull_create_options o = *options;
	const struct layer *source = disk_overlay(disk);
	uint64_t guest_len = source->guest_len;
	int rc;

	if (o.format == BPULL_FORMAT_UNKNOWN)
		o.format = (enum bpull_format)source->ops->format;
	if (o.format != BPULL_FORMAT_RAW)
		guest_len = round_up(guest_len, 512);
	disk->flatten = calloc(1, sizeof(*disk->flatten));
	if (!disk->flatten)
		return err_set(err, -ENOMEM, "out of memory");
	disk->flatten->dir.fd = -1;
	disk->flatten->out_name = strdup(out_path);
	if (!disk->flatten->out_name)
		return err_set(err, -ENOMEM, "out of memory");
	rc = check_free(out_path, err);
	if (!rc)
		rc = posix_dir_open(&disk->flatten->dir, out_path, err);
	if (!rc)
		rc = create_temp(disk->flatten, source->file, &o, guest_len, err);
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
	if (!options_import(&o, sizeof(o), out_options) || o.format > BPULL_FORMAT_QED ||
	    o.backing_name || o.virtual_size || o.creating || o.user_data)
		return error_fill(error, -EINVAL, "unknown options for flattening");
	opened = source.opened;
	source.opened = NULL;
	source.flags |= BPULL_DISK_READ_ONLY;
	rc = bpull_disk_open(engine, source_path, &source, &disk, error);
	if (rc)
		return rc;
	engine_yields_begin(&yields, engine);
	rc = prepare(disk, out_path, &o, &err);
	engine_yields_end(&yields);
	if (rc) {
		bpull_disk_close(disk);
		return error_export(&err, error);
	}
	if (opened)
		opened(source.user_data);
	/* The top is the job's to write to; there is no guest who could. */
	disk->flags &= ~BPULL_DISK_READ_ONLY;
	*out = disk;
	return 0;
}
