/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A chain is looked at twice: here, to decide what is to be done, and by the job,
 * under its locks. Between the two another program may change it; then the job's
 * own checks, which find each file by device and inode, refuse.
 */
#include "tools/chain/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int chain_files_add(struct chain_files *files, const struct bpull_layer_info *layer,
			   const char *link)
{
	struct chain_file *file = &files->list[files->n];

	*file = (struct chain_file){ .path = strdup(layer->path),
				     .link = link ? strdup(link) : NULL,
				     .format = layer->format,
				     .virtual_size = layer->virtual_size,
				     .has_bitmaps = layer->has_bitmaps };
	files->n++;
	if (!file->path || (link && !file->link))
		return -ENOMEM;
	file->is_here = !stat(file->path, &file->st);
	return 0;
}

int chain_files_open(struct chain_files *files, const char *image,
		     const struct bpull_disk_options *how, struct bpull_error *error)
{
	struct bpull_disk_options look = *how;
	struct bpull_info *info = NULL;
	const char *link = NULL;
	int rc;

	*files = (struct chain_files){ 0 };
	look.flags &= BPULL_DISK_READ_HOLES | BPULL_DISK_TRUST_HOLES | BPULL_DISK_FORCE_SHARE;
	look.flags |= BPULL_DISK_READ_ONLY;
	look.opened = NULL;
	rc = bpull_info_open(image, &look, &info, error);
	if (!rc) {
		files->list = calloc(bpull_info_depth(info), sizeof(*files->list));
		rc = files->list ? 0 : -ENOMEM;
	}
	for (unsigned i = 0; !rc && i < bpull_info_depth(info); i++) {
		struct bpull_layer_info layer = { .size = sizeof(layer) };

		rc = bpull_info_layer(info, i, &layer);
		if (!rc)
			rc = chain_files_add(files, &layer, link);
		link = layer.backing_name;
	}
	bpull_info_close(info);
	return rc;
}

void chain_files_free(struct chain_files *files)
{
	for (unsigned i = 0; i < files->n; i++) {
		free(files->list[i].path);
		free(files->list[i].link);
	}
	free(files->list);
}

static int chain_files_sync_one(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int rc = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

int chain_files_sync(const struct chain_files *files, const char **name)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < files->n; i++) {
		*name = files->list[i].path;
		if (files->list[i].is_here)
			rc = chain_files_sync_one(*name);
	}
	return rc;
}

int chain_files_find_same(const struct chain_files *files, const struct stat *st)
{
	for (unsigned i = 0; i < files->n; i++)
		if (files->list[i].is_here && files->list[i].st.st_dev == st->st_dev &&
		    files->list[i].st.st_ino == st->st_ino)
			return (int)i;
	return -1;
}

int chain_files_find(const struct chain_files *files, const char *name)
{
	struct stat st;
	int found = stat(name, &st) ? -1 : chain_files_find_same(files, &st);

	for (unsigned i = 0; found < 0 && i < files->n; i++)
		if (files->list[i].link && !strcmp(files->list[i].link, name))
			found = (int)i;
	return found;
}
