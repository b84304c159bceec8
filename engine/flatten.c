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
 * wanted name at once was rejected: a crash would leave what looks done.
 */
#include "engine/flatten.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "formats/layer_set.h"
#include "io/base.h"
#include "io/posix_file.h"

#define NAME_TRIES 16

struct flatten {
	char *out_name, *temp_name;
	int dir_fd; /* of the directory both lie in, held since nothing may be opened at the end */
	uint64_t raw_len; /* exact bytes of a raw file; 0: the format's business */
};

bool flatten_is_over(const struct bpull_disk *disk)
{
	return disk->flatten && !disk->flatten->temp_name;
}

bool flatten_is(const struct bpull_disk *disk)
{
	return disk->flatten != NULL;
}

/* ---- the new file ---- */

static int name_temp(struct flatten *f)
{
	const char *slash = strrchr(f->out_name, '/');
	int dir_len = slash ? (int)(slash + 1 - f->out_name) : 0;
	uint32_t salt;

	free(f->temp_name);
	f->temp_name = NULL;
	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return -errno;
	return asprintf(&f->temp_name, "%.*s.%.200s.blockpull-%08x", dir_len, f->out_name,
			f->out_name + dir_len, salt) < 0
		       ? -ENOMEM
		       : 0;
}

static int check_free(const char *name, struct err *err)
{
	const char *slash = strrchr(name, '/');
	autofree char *dir = slash ? strndup(name, slash + 1 - name) : strdup(".");
	struct stat st;
	char shown[512];

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

static int open_directory(struct flatten *f, struct err *err)
{
	const char *slash = strrchr(f->out_name, '/');
	autofree char *dir = slash ? strndup(f->out_name, slash + 1 - f->out_name) : strdup(".");
	unsigned n_tries = 0;
	char shown[512];

	if (!dir)
		return err_set(err, -ENOMEM, "out of memory");
	do
		f->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (f->dir_fd < 0 && posix_again(&n_tries));
	return f->dir_fd < 0 ? err_errno(err, posix_error(), "cannot open the directory of '%s'",
					 err_escape(f->out_name, strlen(f->out_name), shown,
						    sizeof(shown)))
			     : 0;
}

/* An empty image under the temporary name; the name is left in *f only if it exists. */
static int create_temp(struct flatten *f, const struct bpull_create_options *o, uint64_t guest_len,
		       struct err *err)
{
	struct file_opener *opener = file_opener_posix();
	struct file *file = NULL;
	char shown[512];
	int rc = -EEXIST;

	for (unsigned i = 0; rc == -EEXIST && i < NAME_TRIES; i++) {
		*err = (struct err){ 0 };
		rc = name_temp(f);
		if (rc)
			return err_errno(err, rc, "cannot make a temporary name");
		rc = opener->create(opener, f->temp_name, &file, err);
	}
	if (!rc && o->format != BPULL_FORMAT_RAW) {
		rc = create_image_in(file, o, guest_len, err);
	} else if (!rc) {
		f->raw_len = guest_len;
		rc = file_truncate(file, guest_len);
		if (rc)
			err_errno(
				err, rc, "%s: cannot set the length of the new file",
				err_escape(f->out_name, strlen(f->out_name), shown, sizeof(shown)));
	}
	if (file)
		file_close(file);
	if (rc && file)
		opener->remove(opener, f->temp_name);
	if (rc) {
		free(f->temp_name);
		f->temp_name = NULL;
	}
	return rc;
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
	disk_file_opened(disk, layer->file);
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
	disk->flatten->dir_fd = -1;
	disk->flatten->out_name = strdup(out_path);
	if (!disk->flatten->out_name)
		return err_set(err, -ENOMEM, "out of memory");
	rc = check_free(out_path, err);
	if (!rc)
		rc = open_directory(disk->flatten, err);
	if (!rc)
		rc = create_temp(disk->flatten, &o, guest_len, err);
	return rc ? rc : put_on_top(disk, (enum image_format)o.format, err);
}

int bpull_flatten_open(struct bpull_engine *engine, const char *source_path,
		       const struct bpull_disk_options *source_options, const char *out_path,
		       const struct bpull_create_options *out_options, struct bpull_disk **out,
		       struct bpull_error *error)
{
	ENGINE_SCOPE(engine);
	struct bpull_disk_options source;
	void (*opened)(void *user_data);
	struct bpull_create_options o;
	struct bpull_disk *disk;
	struct err err = { 0 };
	int rc = options_take(OPEN_FLATTEN, source_options, &source, error);

	if (rc)
		return rc;
	if (!options_import(&o, sizeof(o), out_options) || o.format > BPULL_FORMAT_QED ||
	    o.backing_name || o.virtual_size)
		return error_fill(error, -EINVAL, "unknown options for flattening");
	opened = source.opened;
	source.opened = NULL;
	source.flags |= BPULL_DISK_READ_ONLY;
	rc = bpull_disk_open(engine, source_path, &source, &disk, error);
	if (rc)
		return rc;
	rc = prepare(disk, out_path, &o, &err);
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

/* ---- the end ---- */

/* Never over a file that is there. File systems without RENAME_NOREPLACE have links. */
static int give_name(const struct flatten *f)
{
	if (!renameat2(AT_FDCWD, f->temp_name, AT_FDCWD, f->out_name, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (link(f->temp_name, f->out_name))
		return -errno;
	unlink(f->temp_name); /* else it stays, as after a crash */
	return 0;
}

static int sync_dir(int fd)
{
	unsigned n_tries = 0;

	while (fsync(fd))
		if (!posix_again(&n_tries))
			return posix_error();
	return 0;
}

int flatten_finish(struct bpull_disk *disk, struct err *err)
{
	struct flatten *f = disk->flatten;
	struct file *file = disk_overlay(disk)->file;
	char shown[512];
	int rc = f->raw_len ? file_truncate(file, f->raw_len) : 0;

	if (!rc)
		rc = file_sync(file);
	if (!rc)
		rc = give_name(f);
	if (!rc) {
		free(f->temp_name);
		f->temp_name = NULL;
		/* The rename must not be lost: it is durable when its directory is. */
		rc = sync_dir(f->dir_fd);
		if (rc) /* it may be gone after a power cut: so it is not there now */
			unlink(f->out_name);
	}
	return rc ? err_errno(err, rc, "%s: the new image can't be given its name",
			      err_escape(f->out_name, strlen(f->out_name), shown, sizeof(shown)))
		  : 0;
}

void flatten_abandon(struct bpull_disk *disk)
{
	struct flatten *f = disk->flatten;

	if (!f || !f->temp_name)
		return;
	unlink(f->temp_name);
	free(f->temp_name);
	f->temp_name = NULL;
}

void flatten_free(struct bpull_disk *disk)
{
	struct flatten *f = disk->flatten;

	if (!f)
		return;
	flatten_abandon(disk);
	if (f->dir_fd >= 0)
		close(f->dir_fd);
	free(f->out_name);
	free(f);
	disk->flatten = NULL;
}
