/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The new file of a job that flattens, at the job's end: it gets its name when all of it is
 * durable, or it is removed.
 */
#include "engine/job/chain/flatten.h"

#include <stdlib.h>

#include "engine/core/disk.h"
#include "engine/core/flatten.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/new_file.h"

int flatten_finish(struct bpull_disk *disk, struct err *err)
{
	struct flatten *f = disk->flatten;
	struct file *file = disk_overlay(disk)->file;
	int rc = f->raw_len ? file_truncate(file, f->raw_len) : 0;
	struct shown shown;

	if (rc)
		return err_errno(err, rc, "%s: the new image can't be made durable",
				 new_file_show(f->file, &shown));
	return new_file_publish(f->file, file, err);
}

void flatten_abandon(struct bpull_disk *disk)
{
	if (disk->flatten)
		new_file_abandon(disk->flatten->file);
}

void flatten_free(struct bpull_disk *disk)
{
	if (!disk->flatten)
		return;
	new_file_free(disk->flatten->file);
	free(disk->flatten);
	disk->flatten = NULL;
}
