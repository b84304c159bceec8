/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull compact: files of the middle of a chain become one. They are merged
 * upwards: the upper file of the stretch gets what it reads from the others, so
 * that no file is written that another image may share. To the loop it is a job of
 * the image, whose `top` is that upper file.
 *
 * The whole chain is open and locked meanwhile, the image for reading, so that no
 * program starts to write to it; the upper file's own locks keep out all that have
 * it in their chains. A dry run opens that file instead, as what it reads is not
 * seen through what is above it, and so does --direct, which is of a file from its
 * opening on; both have the image open beside it. Merging downwards
 * was rejected as a default: `commit` does that, and asks who else reads the base.
 */
#include "tools/chain/compact.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json_object.h>

#include "tools/chain/failed.h"
#include "tools/chain/verbs.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

static const struct chain_file *compact_top(const struct compact *c)
{
	return &c->files.list[c->stretch.top];
}

/* What the upper file reads from afterwards, or NULL. */
static const struct chain_file *compact_below(const struct compact *c)
{
	unsigned below = c->stretch.bottom + 1;

	return below < c->files.n ? &c->files.list[below] : NULL;
}

/* ---- The files that the chain does not name any more ---- */

static int compact_refuse(struct compact *c, int rc, const char *path, const char *what)
{
	c->image.error.code = rc;
	snprintf(c->image.error.message, sizeof(c->image.error.message), "'%s': %s", path, what);
	return rc;
}

/* Refuses where they may not all be removed when it is done. Asked before anything is changed. */
static int compact_look_at_others(struct compact *c, const struct bpull_disk_options *how)
{
	unsigned first = c->stretch.top + 1;
	int rc = others_find(&c->others, &c->files, first, c->stretch.bottom, how);

	if (rc)
		return rc;
	if (c->others.image) {
		char what[600];

		snprintf(what, sizeof(what),
			 "'%s' reads from it, so it can't be removed: leave out --unlink",
			 c->others.image);
		return compact_refuse(c, -EPERM, c->files.list[c->others.used].path, what);
	}
	if (!c->others.is_complete)
		return compact_refuse(c, -EPERM, compact_top(c)->path,
				      "not all files beside the chain can be looked at, so it is "
				      "not known which of them read from it: leave out --unlink");
	for (unsigned i = first; i <= c->stretch.bottom; i++) {
		struct stat st;

		if (lstat(c->files.list[i].path, &st) || !S_ISREG(st.st_mode))
			return compact_refuse(c, -EPERM, c->files.list[i].path,
					      "is no plain file, but a link, a device or a "
					      "server's: leave out --unlink");
	}
	return 0;
}

static const struct chain_file *compact_file(const struct compact *c, const char *path)
{
	for (unsigned i = 0; i < c->files.n; i++)
		if (!strcmp(c->files.list[i].path, path))
			return &c->files.list[i];
	return NULL;
}

/* Removes one that was dropped, unless something else has its name by now. 0 or -errno. */
static int compact_unlink(struct compact *c, const char *path)
{
	const struct chain_file *file = compact_file(c, path);
	struct stat st;

	if (!file)
		return compact_refuse(c, -ESTALE, path,
				      "was not in the chain before, and is left alone");
	if (lstat(file->path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (st.st_dev != file->st.st_dev || st.st_ino != file->st.st_ino)
		return compact_refuse(c, -ESTALE, file->path,
				      "another file has that name by now, and is left alone");
	return unlink(file->path) ? compact_refuse(c, -errno, file->path, strerror(errno)) : 0;
}

/* The change is durable, and all is closed. Returns the exit code. */
static int compact_done(struct pull_image *image)
{
	struct compact *c = (struct compact *)image;
	const char *changed;
	int rc = 0;

	if (!c->wants_unlink)
		return EXIT_CODE_DONE;
	changed = others_changed(&c->others);
	if (changed)
		rc = compact_refuse(c, -EPERM, changed,
				    "files came into this directory or left it meanwhile, and may "
				    "be images that read from what was to be removed");
	for (unsigned i = 0; !rc && i < image->n_dropped; i++) {
		rc = compact_unlink(c, image->dropped[i]);
		c->n_unlinked += !rc;
	}
	return exit_code_of_error(rc);
}

/* ---- What is said ---- */

static void compact_say_dropped(const struct compact *c)
{
	for (unsigned i = 0; i < c->image.n_dropped; i++)
		say_note("%s: this chain does not need '%s' any more%s", c->path,
			 c->image.dropped[i], i < c->n_unlinked ? "; it was removed" : "");
}

static bool compact_say_done(const struct pull_image *image)
{
	const struct compact *c = (const struct compact *)image;

	if (compact_below(c))
		say_note("%s: '%s' has '%s' below it now", c->path, compact_top(c)->path,
			 compact_below(c)->path);
	else
		say_note("%s: '%s' has no file below it any more", c->path, compact_top(c)->path);
	compact_say_dropped(c);
	return true;
}

static void compact_say_plan(const struct pull_image *image, const struct pull_plan *plan)
{
	const struct compact *c = (const struct compact *)image;
	char copy[SIZE_TEXT_CAP];

	say_note("%s: '%s' would get at most %s from the files down to '%s'; nothing was changed",
		 c->path, compact_top(c)->path, size_text(plan->copy_bytes, copy),
		 c->files.list[c->stretch.bottom].path);
}

static void compact_say_kept(const struct pull_image *image)
{
	const struct compact *c = (const struct compact *)image;

	if (!strcmp(image->status, "completed")) {
		compact_say_done(image);
		return;
	}
	say_hint("'%s' keeps its backing file and what was copied, and '%s' reads as before; run "
		 "the same command again to go on",
		 compact_top(c)->path, c->path);
}

static struct json_object *compact_paths(const struct compact *c, unsigned n)
{
	struct json_object *array = json_object_new_array();

	for (unsigned i = 0; i < n; i++)
		json_object_array_add(array, say_json_text(c->image.dropped[i]));
	return array;
}

static void compact_add_json(const struct pull_image *image, struct json_object *line)
{
	const struct compact *c = (const struct compact *)image;
	const struct chain_file *below = compact_below(c);

	json_object_object_add(line, "filename", say_json_text(c->path));
	json_object_object_add(line, "depth", json_object_new_int((int)c->files.n));
	if (!c->stretch.bottom) {
		json_object_object_add(line, "dropped", json_object_new_array());
		json_object_object_add(line, "unlinked", json_object_new_array());
		return;
	}
	json_object_object_add(line, "top", say_json_text(compact_top(c)->path));
	json_object_object_add(line, "bottom",
			       say_json_text(c->files.list[c->stretch.bottom].path));
	json_object_object_add(line, "base", say_json_text(below ? below->path : NULL));
	json_object_object_add(line, "dropped", compact_paths(c, image->n_dropped));
	json_object_object_add(line, "unlinked", compact_paths(c, c->n_unlinked));
}

static const struct pull_kind compact_kind = {
	.noun = "compaction",
	.done = compact_done,
	.say_done = compact_say_done,
	.say_plan = compact_say_plan,
	.say_kept = compact_say_kept,
	.add_json = compact_add_json,
};

/* ---- The work ---- */

/* The image open and locked beside the upper file. */
struct compact_hold {
	struct bpull_engine *engine;
	struct bpull_disk *disk;
};

static int compact_hold_image(struct compact_hold *hold, const char *path,
			      const struct bpull_disk_options *how, struct bpull_error *error)
{
	struct bpull_engine_options options = { .size = sizeof(options), .io = BPULL_IO_THREADS };
	struct bpull_disk_options alone = *how;
	int rc = bpull_engine_open(&options, &hold->engine, error);

	alone.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING;
	alone.n_backing_formats = 0; /* of files that are not opened so */
	return rc ? rc : bpull_disk_open(hold->engine, path, &alone, &hold->disk, error);
}

static void compact_release(struct compact_hold *hold)
{
	bpull_disk_close(hold->disk);
	bpull_engine_close(hold->engine);
}

/* What a chain may be made of is decided by the place of its image, not by that of a file in the
 * middle: the image's directory is allowed below that file, too. */
static int compact_allow_dir(struct compact *c, struct options_chain *chain)
{
	const char *slash = strrchr(c->path, '/');
	const char **dirs;
	char *dir;

	if (chain->disk.backing_rule != BPULL_BACKING_DIRS || !S_ISREG(c->files.list[0].st.st_mode))
		return 0;
	dir = slash ? strndup(c->path, (size_t)(slash + 1 - c->path)) : strdup(".");
	c->own_dir = dir ? realpath(dir, NULL) : NULL;
	free(dir);
	if (!c->own_dir)
		return -errno;
	if (!c->own_dir[1])
		return 0; /* "/" would be everything */
	dirs = reallocarray(chain->dirs, chain->disk.n_allowed_dirs + 1, sizeof(*dirs));
	if (!dirs)
		return -ENOMEM;
	dirs[chain->disk.n_allowed_dirs++] = c->own_dir;
	chain->disk.allowed_dirs = chain->dirs = dirs;
	return 0;
}

/* The job is one of the upper file, opened as an image. */
static bool compact_opens_upper(const struct compact *c, const struct pull_options *options)
{
	return c->stretch.top &&
	       (options->dry_run || options->line.chain.disk.flags & BPULL_DISK_DIRECT);
}

static int compact_pull(struct compact *c, struct pull_options *options)
{
	const struct chain_file *below = compact_below(c);

	c->image.path = c->path;
	c->image.kind = &compact_kind;
	if (c->wants_unlink)
		c->image.sandbox_names |= SANDBOX_UNLINK;
	options->job.base = below ? below->path : NULL;
	if (compact_opens_upper(c, options)) {
		c->image.path = compact_top(c)->path;
		options->line.chain.disk.format = compact_top(c)->format;
	} else if (c->stretch.top) {
		options->job.top = compact_top(c)->path;
		c->image.sandbox_names |= SANDBOX_WATCH;
		options->line.chain.disk.flags |= BPULL_DISK_READ_ONLY;
	}
	return pull_images(options, &c->image, 1);
}

/* All that is asked of the files before they are changed. */
static int compact_prepare(struct compact *c, struct pull_options *options,
			   struct compact_hold *hold)
{
	struct options_chain *chain = &options->line.chain;
	int rc = 0;

	if (c->wants_unlink)
		rc = compact_look_at_others(c, &chain->disk);
	if (rc || !compact_opens_upper(c, options))
		return rc;
	rc = compact_hold_image(hold, c->path, &chain->disk, &c->image.error);
	return rc ? rc : compact_allow_dir(c, chain);
}

void compact_json_nothing(struct compact *c, bool dry_run)
{
	struct pull_plan plan = { 0 };

	c->image.path = c->path;
	c->image.kind = &compact_kind;
	c->image.status = dry_run ? "dry-run" : "completed";
	c->image.code = EXIT_CODE_DONE;
	c->image.virtual_size = c->files.n ? c->files.list[0].virtual_size : 0;
	pull_image_json(&c->image, dry_run ? &plan : NULL, NULL);
}

int compact_fail(struct compact *c, bool json, int rc)
{
	c->image.path = c->path;
	c->image.kind = &compact_kind;
	return chain_failed(&c->image, &c->files, json, rc);
}

int compact_images(struct compact *c, struct pull_options *options)
{
	struct compact_hold hold = { 0 };
	int rc = compact_prepare(c, options, &hold), code;

	code = rc ? compact_fail(c, options->line.json, rc) : compact_pull(c, options);
	compact_release(&hold);
	return code;
}
