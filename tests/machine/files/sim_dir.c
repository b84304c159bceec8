/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Directories of the simulated machine, which are there without being made. What
 * changes a name is uncertain until the directory is synced: a file keeps the
 * names that it had since, and a power cut picks one. A sync that failed leaves
 * them uncertain for ever, as it does with writes.
 *
 * Each file's name is picked alone: file systems with a journal keep the order of
 * all changes in a directory, but not all have one.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "io/file/dir.h"
#include "tests/machine/files/sim_private.h"

struct sim_dir {
	struct dir dir; /* first */
	struct sim *sim;
	char *prefix; /* of paths into it: ends in a slash, or is empty */
};

/* ---- names ---- */

static void forget_first(struct sim_file *file)
{
	struct sim_old_name *old = file->old_names;

	file->old_names = old->next;
	free(old->name);
	free(old);
}

void sim_names_clear(struct sim_file *file)
{
	while (file->old_names)
		forget_first(file);
}

void sim_name_change(struct sim_file *file, const char *name)
{
	struct sim_old_name *old = sim_need(calloc(1, sizeof(*old))), **end = &file->old_names;

	if (!file->is_removed)
		old->name = sim_need(strdup(file->name));
	while (*end)
		end = &(*end)->next;
	*end = old;
	file->is_removed = !name;
	if (!name)
		return;
	free(file->name);
	file->name = sim_need(strdup(name));
}

/* Behind a change that stays uncertain the later ones do, too: they may all be undone with it. */
static void settle_names(struct sim_file *file, bool failed)
{
	if (failed)
		for (struct sim_old_name *old = file->old_names; old; old = old->next)
			old->doomed = true;
	while (file->old_names && !file->old_names->doomed)
		forget_first(file);
}

bool sim_name_may_stay(const struct sim_file *file)
{
	const struct sim_old_name *old = file->old_names;

	while (old && !old->name)
		old = old->next;
	return old || !file->is_removed;
}

const char *sim_name_left(struct sim *to, const struct sim_file *file, const struct sim_cut *how)
{
	const struct sim_old_name *old = file->old_names;
	const char *live = file->is_removed ? NULL : file->name;
	bool all_lost = how->mode == SIM_CUT_ALL_LOST, random = how->mode == SIM_CUT_RANDOM;
	uint64_t n = 0;

	if (how->names != SIM_NAMES_AS_MODE) {
		all_lost = how->names == SIM_NAMES_OLD;
		random = how->names == SIM_NAMES_RANDOM;
	}
	if (!old || how->mode == SIM_CUT_NONE || (!all_lost && !random))
		return live;
	if (all_lost)
		return old->name;
	for (const struct sim_old_name *at = old; at; at = at->next)
		n++;
	n = sim_below(to, n + 1);
	for (; old && n; n--)
		old = old->next;
	return old ? old->name : live;
}

/* ---- calls ---- */

static char *path_in(const struct sim_dir *sd, const char *name)
{
	char *path;

	return sim_need(asprintf(&path, "%s%s", sd->prefix, name) < 0 ? NULL : path);
}

static bool is_there(const struct sim_dir *sd, const char *name)
{
	autofree char *path = path_in(sd, name);

	return sim_file_exists(sd->sim, path);
}

static int begin(struct sim *sim, enum sim_op op, const struct sim_file *file)
{
	int rc = sim_op_begin(sim, op, file);

	sim_op_trace(sim, op, 0, 0, rc);
	return rc;
}

static int sim_dir_create(struct dir *dir, const char *name, const struct file *like,
			  struct file **out, struct err *err)
{
	struct sim_dir *sd = (struct sim_dir *)dir;
	autofree char *path = path_in(sd, name);
	struct sim_file *file;
	int rc = begin(sd->sim, SIM_CREATE, NULL);

	if (!rc && is_there(sd, name))
		rc = -EEXIST;
	if (rc)
		return err_errno(err, rc, "cannot create '%s'", path);
	*out = sim_handle_create(sd->sim, path);
	/* It had no name before. */
	file = sim_file_find(sd->sim, path);
	file->is_removed = true;
	sim_name_change(file, (*out)->real_name);
	return 0;
}

/* The machine has no modes. */
static void sim_dir_give_mode(struct dir *dir, const struct file *file)
{
}

static bool sim_dir_has(const struct dir *dir, const char *name)
{
	return is_there((const struct sim_dir *)dir, name);
}

static int sim_dir_rename(struct dir *dir, const struct file *file, const char *from,
			  const char *to)
{
	struct sim_dir *sd = (struct sim_dir *)dir;
	struct sim_file *data = ((const struct sim_handle *)file)->data;
	autofree char *old = path_in(sd, from), *path = path_in(sd, to);
	int rc = begin(sd->sim, SIM_RENAME, data);

	if (rc)
		return rc;
	if (sim_file_find(sd->sim, old) != data)
		return -ENOENT;
	if (is_there(sd, to))
		return -EEXIST;
	sim_name_change(data, path);
	return 0;
}

static int sim_dir_remove(struct dir *dir, const char *name)
{
	struct sim_dir *sd = (struct sim_dir *)dir;
	autofree char *path = path_in(sd, name);
	struct sim_file *file = sim_file_find(sd->sim, path);
	int rc = begin(sd->sim, SIM_REMOVE, file);

	if (rc)
		return rc;
	if (!file)
		return -ENOENT;
	sim_name_change(file, NULL);
	return 0;
}

static bool is_in(const struct sim_dir *sd, const char *path)
{
	size_t len = strlen(sd->prefix);

	return path && !strncmp(path, sd->prefix, len) && !strchr(path + len, '/');
}

static bool was_ever_in(const struct sim_dir *sd, const struct sim_file *file)
{
	const struct sim_old_name *old = file->old_names;

	while (old && !is_in(sd, old->name))
		old = old->next;
	return old || is_in(sd, file->name);
}

static int sim_dir_sync(const struct dir *dir, const struct file *file)
{
	const struct sim_dir *sd = (const struct sim_dir *)dir;
	int rc = begin(sd->sim, SIM_DIR_SYNC, NULL);

	if (rc != SIM_STOPPED)
		for (struct sim_file *f = sd->sim->files; f; f = f->next)
			if (was_ever_in(sd, f))
				settle_names(f, rc);
	return rc;
}

static void sim_dir_close(struct dir *dir)
{
	struct sim_dir *sd = (struct sim_dir *)dir;

	free(sd->prefix);
	free(sd);
}

static const struct dir_ops sim_dir_ops = {
	.create = sim_dir_create,
	.give_mode = sim_dir_give_mode,
	.has = sim_dir_has,
	.rename = sim_dir_rename,
	.remove = sim_dir_remove,
	.sync = sim_dir_sync,
	.close = sim_dir_close,
};

int sim_dir_open(struct file_opener *opener, const char *path, struct dir **out, struct err *err)
{
	struct sim *sim = (struct sim *)((char *)opener - offsetof(struct sim, opener));
	size_t len = (size_t)(dir_last_part(path) - path);
	struct sim_dir *sd;
	int rc = begin(sim, SIM_DIR_OPEN, NULL);

	assert(path[0] == '/');
	if (!rc && sim_file_exists(sim, path))
		rc = -EEXIST;
	if (rc)
		return err_errno(err, rc, "cannot create '%s'", path);
	sd = sim_need(calloc(1, sizeof(*sd)));
	sd->dir.ops = &sim_dir_ops;
	sd->sim = sim;
	sd->prefix = sim_need(strndup(path, len));
	*out = &sd->dir;
	return 0;
}
