/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * No list tells which images name a file. So those that lie beside it are asked,
 * which is where they lie nearly always; what this finds is a reason to refuse,
 * what it does not find is no proof.
 *
 * Walking whole trees was rejected: it takes minutes, and its end would be as
 * arbitrary as a directory's.
 */
#include "tools/chain/others.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json_object.h>
#include <json-c/json_tokener.h>

struct others_search {
	struct others *found;
	const struct chain_files *files;
	unsigned first, last;
	struct bpull_disk_options how;
	unsigned n_looked;
};

/* What lies below an image matters down to this file only: it is one of those that are wanted
 * (*used), or one that lies above them, for which all is done that is done to the chain. */
static bool others_ends_at(const struct others_search *search, const struct stat *st, int *used)
{
	int found = chain_files_find_same(search->files, st);

	*used = found >= (int)search->first && found <= (int)search->last ? found : -1;
	return *used >= 0 || (found >= 0 && found < (int)search->first);
}

/* The plain file at the end of a json: name, in QEMU's words; NULL: none. It belongs to `root`. */
static const char *others_json_file(struct json_object *root)
{
	struct json_object *at = root, *name, *below;

	while (json_object_is_type(at, json_type_object)) {
		if (json_object_object_get_ex(at, "filename", &name) ||
		    json_object_object_get_ex(at, "file.filename", &name))
			return json_object_get_string(name);
		if (!json_object_object_get_ex(at, "file", &below))
			return NULL;
		at = below;
	}
	return NULL;
}

static int others_stat_link(const char *image, const char *link, struct stat *st);

static int others_stat_json(const char *image, const char *text, struct stat *st)
{
	struct json_object *root = json_tokener_parse(text);
	const char *file = others_json_file(root);
	int rc = file && strncmp(file, "json:", 5) ? others_stat_link(image, file, st) : -1;

	json_object_put(root);
	return rc;
}

/* A name that an image records, where its chain can't be followed: the file it leads to. */
static int others_stat_link(const char *image, const char *link, struct stat *st)
{
	const char *slash = strrchr(image, '/');
	char *path = NULL;
	int rc;

	if (!strncmp(link, "json:", 5))
		return others_stat_json(image, link + 5, st);
	if (!strncmp(link, "file:", 5))
		link += 5;
	if (*link != '/' && link[strcspn(link, ":/")] == ':')
		return -1;
	if (asprintf(&path, "%.*s%s", *link == '/' || !slash ? 0 : (int)(slash + 1 - image), image,
		     link) < 0)
		return -1;
	rc = stat(path, st);
	free(path);
	return rc;
}

/* The whole chain, or where that can't be opened, the image alone. */
static struct bpull_info *others_open(const struct others_search *search, const char *path)
{
	struct bpull_disk_options how = search->how;
	struct bpull_info *info;

	if (!bpull_info_open(path, &how, &info, NULL))
		return info;
	how.flags |= BPULL_DISK_NO_BACKING;
	return bpull_info_open(path, &how, &info, NULL) ? NULL : info;
}

/* The file of the chain, among those that are wanted, which the image at `path` reads from; -1:
 * none. */
static int others_look_into(const struct others_search *search, const char *path)
{
	struct bpull_info *info = others_open(search, path);
	unsigned depth = info ? bpull_info_depth(info) : 0;
	int used = -1;

	for (unsigned i = 0; i < depth; i++) {
		struct bpull_layer_info layer = { .size = sizeof(layer) };
		struct stat st;

		if (bpull_info_layer(info, i, &layer))
			break;
		if (i && !stat(layer.path, &st) && others_ends_at(search, &st, &used))
			break;
		if (layer.backing_name && i + 1 == depth &&
		    !others_stat_link(layer.path, layer.backing_name, &st))
			others_ends_at(search, &st, &used);
	}
	bpull_info_close(info);
	return used;
}

static bool others_is_ours(const struct others_search *search, const struct stat *st)
{
	uid_t user = geteuid();

	if (!user || st->st_uid == user)
		return true;
	for (unsigned i = 0; i <= search->last; i++)
		if (search->files->list[i].is_here &&
		    search->files->list[i].st.st_uid == st->st_uid)
			return true;
	return false;
}

/* The entry may be an image that is not of the chain. */
static bool others_may_be_image(const struct others_search *search, int dir_fd, const char *name)
{
	struct stat st;

	return !fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
	       st.st_size && chain_files_find_same(search->files, &st) < 0 &&
	       others_is_ours(search, &st);
}

static int others_look_at_entry(struct others_search *search, const char *dir_path, int dir_fd,
				const char *name)
{
	char *path;
	int used;

	if (!others_may_be_image(search, dir_fd, name))
		return 0;
	if (search->n_looked++ >= OTHERS_MAX) {
		search->found->is_complete = false;
		return 0;
	}
	if (asprintf(&path, "%s/%s", dir_path, name) < 0)
		return -ENOMEM;
	used = others_look_into(search, path);
	if (used < 0) {
		free(path);
		return 0;
	}
	search->found->image = path;
	search->found->used = (unsigned)used;
	return 0;
}

static int others_read_dir(struct others_search *search, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int rc = 0;

	if (!dir) {
		search->found->is_complete = false;
		return 0;
	}
	while (!rc && !search->found->image && (entry = readdir(dir)))
		rc = others_look_at_entry(search, path, dirfd(dir), entry->d_name);
	closedir(dir);
	return rc;
}

/* Adds the directory that `file` lies in, where it is not there yet. The name is taken over; NULL:
 * there is none. */
static void others_add_dir(struct others *others, char *file)
{
	char *slash = file ? strrchr(file, '/') : NULL, *real;
	struct stat st;

	if (slash)
		slash[slash == file] = 0;
	real = file ? realpath(slash ? file : ".", NULL) : NULL;
	free(file);
	if (!real || stat(real, &st)) {
		others->is_complete = false;
		free(real);
		return;
	}
	for (unsigned i = 0; i < others->n_dirs; i++) {
		if (others->dirs[i].dev == st.st_dev && others->dirs[i].ino == st.st_ino) {
			free(real);
			return;
		}
	}
	others->dirs[others->n_dirs++] =
		(struct others_dir){ real, st.st_dev, st.st_ino, st.st_mtim };
}

int others_find(struct others *others, const struct chain_files *files, unsigned first,
		unsigned last, const struct bpull_disk_options *how)
{
	struct others_search search = {
		.found = others, .files = files, .first = first, .last = last, .how = *how
	};
	int rc = 0;

	*others = (struct others){ .is_complete = true };
	others->dirs = calloc(2 * (size_t)files->n, sizeof(*others->dirs));
	if (!others->dirs)
		return -ENOMEM;
	search.how.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	search.how.format = BPULL_FORMAT_UNKNOWN;
	search.how.n_backing_formats = 0; /* they are the chain's files */
	search.how.find_base = NULL;
	search.how.find_opaque = NULL;
	search.how.opened = NULL;
	for (unsigned i = 0; i <= last; i++)
		if ((!i || i >= first) && files->list[i].is_here &&
		    S_ISREG(files->list[i].st.st_mode)) {
			/* A symbolic link may lie elsewhere than its file. */
			others_add_dir(others, strdup(files->list[i].path));
			others_add_dir(others, realpath(files->list[i].path, NULL));
		}
	for (unsigned i = 0; !rc && !others->image && i < others->n_dirs; i++)
		rc = others_read_dir(&search, others->dirs[i].path);
	return rc;
}

const char *others_changed(const struct others *others)
{
	for (unsigned i = 0; i < others->n_dirs; i++) {
		const struct others_dir *dir = &others->dirs[i];
		struct stat st;

		if (stat(dir->path, &st) || st.st_mtim.tv_sec != dir->changed.tv_sec ||
		    st.st_mtim.tv_nsec != dir->changed.tv_nsec)
			return dir->path;
	}
	return NULL;
}

void others_free(struct others *others)
{
	for (unsigned i = 0; i < others->n_dirs; i++)
		free(others->dirs[i].path);
	free(others->dirs);
	free(others->image);
}
