/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The new file of a job that flattens, at the job's end: it gets its name when all of it is
 * durable, or it is removed.
 */
#include "engine/job/flatten.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "engine/core/flatten.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/posix_dir.h"

void flatten_remove_name(const struct flatten *f, const char *name)
{
	unlinkat(f->dir.fd, posix_last(name), 0);
}

static int give_name(struct flatten *f, struct file *file, struct err *err)
{
	char shown[512];
	int rc = posix_dir_rename(&f->dir, file->fd, posix_last(f->temp_name),
				  posix_last(f->out_name));

	err_escape(f->out_name, strlen(f->out_name), shown, sizeof(shown));
	if (rc == -EEXIST)
		return err_set(err, rc,
			       "'%s' exists by now and is left alone: remove it, or choose another "
			       "name",
			       shown);
	if (rc)
		return err_errno(err, rc, "%s: the new image can't be given its name", shown);
	free(f->temp_name);
	f->temp_name = NULL;
	/* The rename must not be lost: it is durable when its directory is. */
	rc = posix_dir_sync(&f->dir, file->fd);
	if (!rc)
		return 0;
	flatten_remove_name(
		f, f->out_name); /* it may be gone after a power cut: so it is not there now */
	return err_errno(err, rc, "%s: the new image's name can't be made durable", shown);
}

int flatten_finish(struct bpull_disk *disk, struct err *err)
{
	struct flatten *f = disk->flatten;
	struct file *file = disk_overlay(disk)->file;
	char shown[512];
	int rc = f->raw_len ? file_truncate(file, f->raw_len) : 0;

	if (fchmod(file->fd, f->mode))
		errno = 0; /* as make_private(): it is the owner's alone */
	if (!rc)
		rc = file_sync(file);
	return rc ? err_errno(err, rc, "%s: the new image can't be made durable",
			      err_escape(f->out_name, strlen(f->out_name), shown, sizeof(shown)))
		  : give_name(f, file, err);
}

void flatten_abandon(struct bpull_disk *disk)
{
	struct flatten *f = disk->flatten;

	if (!f || !f->temp_name)
		return;
	flatten_remove_name(f, f->temp_name);
	free(f->temp_name);
	f->temp_name = NULL;
}

void flatten_free(struct bpull_disk *disk)
{
	struct flatten *f = disk->flatten;

	if (!f)
		return;
	flatten_abandon(disk);
	if (f->dir.fd >= 0)
		close(f->dir.fd);
	free(f->out_name);
	free(f);
	disk->flatten = NULL;
}
