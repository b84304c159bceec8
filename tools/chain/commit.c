/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull commit: what an image and the files between hold goes down into a file
 * below. That file reads otherwise then, for every image that has it in its chain.
 * So those that lie beside it are looked for first, and one that is found is a
 * reason to refuse; the library refuses where one is in use.
 */
#include "tools/chain/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json_object.h>

#include "tools/chain/failed.h"
#include "tools/cli/sandbox.h"
#include "tools/cli/say.h"
#include "tools/words/exit_code.h"
#include "tools/words/size.h"

#define COMMIT_EXTENTS 512

static const struct chain_file *commit_base(const struct commit *c)
{
	return &c->files.list[c->base];
}

/* The library's disk goes on with the base. The image is the user's still, and one that stays as it
 * is reads through the files between. */
static bool commit_leaves(const struct pull_image *image, const char *path)
{
	const struct commit *c = (const struct commit *)image;

	return c->keeps || !strcmp(image->path, path);
}

/* ---- What is said ---- */

static bool commit_say_done(const struct pull_image *image)
{
	const struct commit *c = (const struct commit *)image;

	say_note("%s: '%s' holds all of it now%s", image->path, commit_base(c)->path,
		 c->keeps ? "" : "; the image is empty and reads from it");
	for (unsigned i = 0; i < image->n_dropped; i++)
		if (!commit_leaves(image, image->dropped[i]))
			say_note("%s: this chain does not need '%s' any more", image->path,
				 image->dropped[i]);
	return true;
}

static void commit_say_plan(const struct pull_image *image, const struct pull_plan *plan)
{
	const struct commit *c = (const struct commit *)image;
	char bytes[SIZE_TEXT_CAP];

	(void)plan;
	say_note("%s: would write at most %s into '%s'; nothing was changed", image->path,
		 size_text(c->plan_bytes, bytes), commit_base(c)->path);
}

static void commit_say_kept(const struct pull_image *image)
{
	const struct commit *c = (const struct commit *)image;

	say_hint("'%s' reads as before and keeps what it holds, and '%s' has what was written; run "
		 "the same command again to go on",
		 image->path, commit_base(c)->path);
}

static void commit_add_json(const struct pull_image *image, struct json_object *line)
{
	const struct commit *c = (const struct commit *)image;
	struct json_object *dropped = json_object_new_array();

	for (unsigned i = 0; i < image->n_dropped; i++)
		if (!commit_leaves(image, image->dropped[i]))
			json_object_array_add(dropped, say_json_text(image->dropped[i]));
	if (c->base)
		json_object_object_add(line, "base", say_json_text(commit_base(c)->path));
	json_object_object_add(line, "dropped", dropped);
}

static const struct pull_kind commit_kind = {
	.noun = "commit",
	.say_done = commit_say_done,
	.say_plan = commit_say_plan,
	.say_kept = commit_say_kept,
	.add_json = commit_add_json,
};

/* ---- Who else reads from the files that are written or left out ---- */

static int commit_look_at_others(struct commit *c, const struct bpull_disk_options *how)
{
	int rc = others_find(&c->others, &c->files, 1, c->base, how);

	if (rc || !c->others.image) {
		if (!rc && !c->others.is_complete)
			say_note("warning: not all files beside '%s' can be looked at: another "
				 "image may read from it",
				 commit_base(c)->path);
		return rc;
	}
	c->image.error.code = -EPERM;
	snprintf(c->image.error.message, sizeof(c->image.error.message),
		 "'%s' reads from '%s', too, and would read something else after a commit into "
		 "'%s': pull it first, or insist with --shared-base-is-mine",
		 c->others.image, c->files.list[c->others.used].path, commit_base(c)->path);
	return -EPERM;
}

/* ---- A dry run ---- */

static int commit_count(struct commit *c, struct bpull_disk *disk)
{
	uint64_t start = 0, size = bpull_disk_size(disk);

	while (start < size) {
		struct bpull_extent extents[COMMIT_EXTENTS];
		int n = bpull_disk_map(disk, start, extents, COMMIT_EXTENTS, &c->image.error);

		if (n <= 0)
			return n ? n : -EIO; /* an end before the end */
		for (int i = 0; i < n; i++)
			if (extents[i].present && extents[i].depth < c->base)
				c->plan_bytes += extents[i].length;
		start = extents[n - 1].start + extents[n - 1].length;
	}
	return 0;
}

static int commit_plan(struct commit *c, const struct pull_options *options)
{
	struct bpull_disk_options how = options->line.chain.disk;
	struct bpull_engine *engine = NULL;
	struct bpull_disk *disk = NULL;
	int rc = bpull_engine_open(&options->engine, &engine, &c->image.error);

	/* As the job has it, so that the same is refused. Nothing is written before one starts. */
	how.flags &= ~(uint32_t)BPULL_DISK_DIRECT;
	if (!rc)
		rc = bpull_disk_open(engine, c->image.path, &how, &disk, &c->image.error);
	if (!rc)
		rc = bpull_job_check(disk, &options->job, &c->image.error);
	sandbox_enter(SANDBOX_NO_NAMES);
	if (!rc) {
		c->image.virtual_size = bpull_disk_size(disk);
		c->image.depth = bpull_disk_depth(disk);
		rc = commit_count(c, disk);
	}
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return rc;
}

/* ---- The work ---- */

int commit_fail(struct commit *c, bool json, int rc)
{
	c->image.kind = &commit_kind;
	c->image.depth = c->files.n;
	return chain_failed(&c->image, &c->files, json, rc);
}

static int commit_end_planned(struct commit *c, const struct pull_options *options)
{
	struct pull_plan plan = { .copy_bytes = c->plan_bytes };

	if (!options->line.quiet && !options->line.json)
		commit_say_plan(&c->image, &plan);
	c->image.status = "dry-run";
	if (options->line.json)
		pull_image_json(&c->image, &plan, NULL);
	return EXIT_CODE_DONE;
}

int commit_images(struct commit *c, struct pull_options *options)
{
	int rc = 0;

	c->image.kind = &commit_kind;
	options->job.type = BPULL_JOB_TYPE_COMMIT;
	options->job.base = commit_base(c)->path;
	options->job.flags |= c->keeps ? BPULL_JOB_KEEP : 0;
	if (!c->base_is_mine)
		rc = commit_look_at_others(c, &options->line.chain.disk);
	if (!rc && options->dry_run)
		rc = commit_plan(c, options);
	if (!rc && commit_base(c)->has_bitmaps)
		say_note("warning: '%s' has bitmaps: a commit into it ends their validity",
			 commit_base(c)->path);
	if (rc)
		return commit_fail(c, options->line.json, rc);
	if (options->dry_run)
		return commit_end_planned(c, options);
	return pull_images(options, &c->image, 1);
}
