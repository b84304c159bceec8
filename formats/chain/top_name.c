/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The name under which a new overlay finds the image that it is put on.
 *
 * Links are resolved, other than where a base is named (chain_base.c): a link "current.img" leads
 * to the newest image, and so it soon would to the new overlay itself. A device's link stays, as
 * its node has another number after the next start of the machine.
 *
 * The way from one directory to another is not written as a relative name: people move the new
 * overlay, not the images below it.
 */
#include "formats/chain/top_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/chain/identity.h"
#include "formats/chain/name.h"
#include "formats/core/layer.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/dir.h"
#include "io/file/opener.h"

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

static int join_names(const char *a, const char *b, char **out, struct err *err)
{
	if (asprintf(out, "%s%s", a, b) >= 0)
		return 0;
	*out = NULL;
	return no_memory(err);
}

/* The directory of a path, links resolved, with a slash at its end. One that does not exist is left
 * as it is written: creating the file will fail for that. */
static int resolve_dir(const char *path, char **out, struct err *err)
{
	const char *last = dir_last_part(path);
	autofree char *dir = last > path ? strndup(path, last - path) : strdup(".");
	autofree char *real = dir ? realpath(dir, NULL) : NULL;
	char shown[CHAIN_NAME_SHOWN];

	if (dir && !real && errno != ENOENT && errno != ENOMEM)
		return err_errno(err, -errno, "cannot find the directory of '%s'",
				 chain_name_show(path, shown));
	if (dir && !real && errno == ENOENT)
		real = strndup(path, last - path);
	if (!dir || !real)
		return no_memory(err);
	return join_names(real, *real && real[strlen(real) - 1] != '/' ? "/" : "", out, err);
}

/* The top's path, absolute. */
static int resolve_top(const struct file *top, char **out, struct err *err)
{
	autofree char *dir = NULL;
	int rc;

	if (!top->is_block) {
		*out = strdup(top->real_name);
		return *out ? 0 : no_memory(err);
	}
	rc = resolve_dir(top->name, &dir, err);
	if (rc)
		return rc;
	return join_names(dir, dir_last_part(top->name), out, err);
}

static int choose_name(const struct file *top, const char *path, char **out, struct err *err)
{
	autofree char *dir = NULL, *real = NULL;
	const char *last, *guard;
	bool is_beside;
	int rc = resolve_dir(path, &dir, err);

	if (!rc)
		rc = resolve_top(top, &real, err);
	if (rc)
		return rc;
	last = dir_last_part(real);
	is_beside = strlen(dir) == (size_t)(last - real) && !strncmp(dir, real, last - real);
	/* A colon before any slash would make it a protocol. */
	guard = is_beside && strchr(last, ':') ? "./" : "";
	return join_names(guard, is_beside ? last : real, out, err);
}

/* 1: the name, recorded in an image at `path`, leads to this file. 0: it does not. -errno with a
 * sentence: that can't be told. */
static int name_leads_to(const struct file *top, struct file_opener *opener,
			 struct file_giver giver, const char *path, const char *name,
			 struct err *err)
{
	struct file_open how = { .giver = giver, .recorded = name };
	char shown[CHAIN_NAME_SHOWN];
	autofree char *found = NULL;
	struct file *file;
	int rc = chain_backing_path(path, name, &found, err);

	if (rc)
		return rc;
	how.name = found;
	rc = WAITING(opener->open(opener, &how, &file, NULL));
	if (rc == -ENOENT || rc == -ENOTDIR || rc == -EISDIR || rc == -EINVAL)
		return 0;
	if (rc)
		return err_errno(err, rc, "cannot open '%s' to see where it leads",
				 chain_name_show(name, shown));
	rc = identity_is_same(top, file);
	file_close(file);
	return rc;
}

static int refuse_wanted(const struct file *top, const char *wanted, const char *path, bool leads,
			 struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], image[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];

	if (!chain_name_is_plain(wanted))
		return err_set(err, -EINVAL,
			       "'%s' can't be recorded in '%s' as the name of its backing file: it "
			       "must be that of a plain file",
			       chain_name_show(wanted, shown), chain_name_show(path, image));
	if (leads)
		return 0;
	return err_set(err, -EINVAL,
		       "'%s', recorded in '%s', would not lead to '%s'; nothing was changed",
		       chain_name_show(wanted, shown), chain_name_show(path, image),
		       chain_name_show(top->name, other));
}

int chain_name_top(const struct layer *top, struct file_opener *opener, const char *path,
		   const char *wanted, char **out, struct err *err)
{
	const struct file *file = top->file;
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];
	autofree char *name = NULL;
	int rc;

	if (file->is_given)
		return err_set(
			err, -ENOTSUP,
			"'%s' was opened by the program (open_file), so no name is known to "
			"lead to it that a new image could record: make that, and hand it over in "
			"the same way",
			chain_name_show(file->name, shown));
	rc = wanted ? 0 : choose_name(file, path, &name, err);
	if (!rc && wanted && !(name = strdup(wanted)))
		rc = no_memory(err);
	if (!rc && wanted)
		rc = refuse_wanted(file, wanted, path, true, err);
	if (!rc)
		rc = name_leads_to(file, opener, (struct file_giver){ 0 }, path, name, err);
	if (rc < 0)
		return rc;
	if (!rc && wanted)
		return refuse_wanted(file, wanted, path, false, err);
	if (!rc)
		return err_set(err, -ESTALE,
			       "'%s' does not lead to '%s' any more, which the disk has open: it "
			       "was moved or removed, and a new image could not name it",
			       chain_name_show(name, shown), chain_name_show(file->name, other));
	*out = STEAL(name);
	return 0;
}

/* The next program to open the image will take its backing file for this format. */
static bool will_take_format(const struct layer *layer, enum image_format format)
{
	const struct layer_backing *b = &layer->backing;

	if (b->format == IMAGE_UNKNOWN && b->probe)
		return format != IMAGE_RAW;
	return b->format == format;
}

int chain_check_leads_to_top(const struct layer *top, struct file_opener *opener,
			     struct file_giver giver, const char *path, const struct layer *layer,
			     struct err *err)
{
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];
	int rc;

	chain_name_show(path, shown);
	if (top->file->is_given && !giver.give)
		return err_set(err, -ENOTSUP,
			       "'%s' was opened by the program (open_file), so it can't be told "
			       "whether '%s' leads to it: hand that over in the same way",
			       chain_name_show(top->file->name, other), shown);
	if (!layer->has_backing)
		return err_set(err, -EINVAL, "'%s' has no backing file, and is to have '%s'", shown,
			       chain_name_show(top->file->name, other));
	rc = name_leads_to(top->file, opener, giver, path, layer->backing.name, err);
	if (rc < 0)
		return rc;
	if (!rc)
		return err_set(err, -EINVAL,
			       "'%s' records a backing file that is not '%s', the image of this "
			       "disk",
			       shown, chain_name_show(top->file->name, other));
	if (will_take_format(layer, layer_format(top)))
		return 0;
	return err_set(err, -EINVAL,
		       "'%s' does not record that its backing file '%s' is %s: who opens it next "
		       "would read another disk (qemu-img rebase -u -F %s)",
		       shown, chain_name_show(top->file->name, other), layer_format_name(top),
		       layer_format_name(top));
}
