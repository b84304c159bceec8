/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The header is read without locks, a moment before the image is opened with
 * them: what it says of the format can't change while another
 * process may not write.
 */
#include "tools/serve/image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NOTE_EXTENTS 256
#define NOTE_MAX_NS  200000000

#define SUBCLUSTERS 32 /* of a cluster with extended L2 entries */

int image_look(const char *path, const struct bpull_disk_options *how, struct image_look *look,
	       struct bpull_error *error)
{
	struct bpull_disk_options o = *how;
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	int rc;

	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING | BPULL_DISK_FORCE_SHARE;
	o.n_backing_formats = 0; /* of files that are not opened here */
	o.opened = NULL;
	rc = bpull_info_open(path, &o, &info, error);
	if (rc)
		return rc;
	bpull_info_layer(info, 0, &layer);
	*look = (struct image_look){
		.cluster_len = layer.cluster_size,
		.granule = layer.cluster_size / (layer.extended_l2 ? SUBCLUSTERS : 1),
		.can_discard = layer.format == BPULL_FORMAT_RAW ||
			       (layer.format == BPULL_FORMAT_QCOW2 && layer.version >= 3 &&
				!layer.data_file_raw),
		.has_snapshots = layer.n_snapshots,
	};
	if (layer.format == BPULL_FORMAT_RAW)
		look->granule = look->cluster_len = 0;
	if (layer.format == BPULL_FORMAT_RAW && how->format != BPULL_FORMAT_RAW) {
		*error = (struct bpull_error){ .code = -EPERM };
		snprintf(error->message, sizeof(error->message),
			 "'%s' looks raw, but a guest may have made it look so: --format=raw "
			 "serves it",
			 path);
		rc = -EPERM;
	}
	bpull_info_close(info);
	return rc;
}

static int64_t image_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Opening has checked the image: a plain cluster has one owner, and is written to in place. */
static bool image_is_in_place(const struct bpull_extent *e)
{
	return !e->depth && e->data && e->has_offset && !e->zero && !e->compressed;
}

void image_note_durable(struct bpull_disk *disk, struct durable *durable)
{
	struct bpull_extent extents[NOTE_EXTENTS];
	int64_t until = image_now_ns() + NOTE_MAX_NS;
	uint64_t start = 0;
	int n;

	while (image_now_ns() < until &&
	       (n = bpull_disk_map(disk, start, extents, NOTE_EXTENTS, NULL)) > 0) {
		for (int i = 0; i < n; i++)
			if (image_is_in_place(&extents[i]))
				durable_add(durable, durable_epoch(durable), extents[i].start,
					    extents[i].length);
		start = extents[n - 1].start + extents[n - 1].length;
	}
}

const char *image_serial(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}
