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

const char *image_serial(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}
