/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The header is read without locks, a moment before the image is opened with
 * them: what it says of the format can't change while another
 * process may not write. Where another process has the image first, it is looked at
 * again when that has given it away; a granule that is another then counts as none.
 */
#include "tools/serve/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/vhost/session.h"

#define NOTE_EXTENTS  256
#define NOTE_AGAIN_NS INT64_C(50000000) /* while a machine waits */

#define SUBCLUSTERS 32 /* of a cluster with extended L2 entries */

/* `how` is altered. */
static int image_look(const char *path, struct bpull_disk_options *how, struct image_look *look,
		      struct bpull_error *error)
{
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	int rc;

	how->flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING | BPULL_DISK_FORCE_SHARE;
	how->n_backing_formats = 0; /* of files that are not opened here */
	how->opened = NULL;
	rc = bpull_info_open(path, how, &info, error);
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

static void image_open_file(struct image *image)
{
	const struct bpull_disk_options *how = image->how;
	const struct bpull_open_request request = { .size = sizeof(request),
						    .name = image->path,
						    .need = BPULL_OPEN_READ,
						    .what = BPULL_OPEN_IMAGE };

	image->fd = how->open_file
			    ? how->open_file(how->open_opaque, &request)
			    : open(image->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

int image_open(struct image *image, const char *path, const struct bpull_disk_options *how,
	       struct image_look *look, struct bpull_error *error)
{
	struct bpull_disk_options o = *how;
	int rc = image_look(path, &o, look, error);

	*image =
		(struct image){ .path = strdup(path), .format = how->format, .how = how, .fd = -1 };
	if (!rc && !image->path) {
		*error = (struct bpull_error){ .code = -ENOMEM, .message = "out of memory" };
		rc = -ENOMEM;
	}
	if (!rc)
		image_open_file(image);
	return rc;
}

void image_close(struct image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
	free(image->path);
	image->path = NULL;
}

/* The image's file, and no other. */
static int image_give(void *opaque, const struct bpull_open_request *request)
{
	int fd = request->recorded ? -1
				   : fcntl(((const struct image *)opaque)->fd, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -ENOENT : fd;
}

/* False: it can't be looked at. */
static bool image_look_again(const struct image *image, struct image_look *look)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = image->format,
					.open_file = image_give,
					.open_opaque = (void *)image };
	struct bpull_error error;

	return image->fd >= 0 && !image_look(image->path, &o, look, &error);
}

/* Opening has checked the image: a plain cluster has one owner, and is written to in place. */
static bool image_is_in_place(const struct bpull_extent *e)
{
	return !e->depth && e->data && e->has_offset && !e->zero && !e->compressed;
}

void image_note_durable(struct bpull_disk *disk, struct durable *durable, uint64_t max_ns)
{
	struct bpull_extent extents[NOTE_EXTENTS];
	uint64_t until = monotonic_ns() + max_ns;
	uint64_t start = 0;
	int n;

	while (monotonic_ns() < until &&
	       (n = bpull_disk_map(disk, start, extents, NOTE_EXTENTS, NULL)) > 0) {
		for (int i = 0; i < n; i++)
			if (image_is_in_place(&extents[i]))
				durable_add(durable, durable_epoch(durable), extents[i].start,
					    extents[i].length);
		start = extents[n - 1].start + extents[n - 1].length;
	}
}

void image_came_back(const struct image *image, struct port *port)
{
	uint64_t len = bpull_disk_size(port->disk), granule = port->durable.granule;
	bool has_changed = len != port->geometry.len;
	struct image_look look;

	port->geometry.len = len;
	if (has_changed && port->is_connected)
		vhost_session_config_changed(&port->session);
	durable_close(&port->durable);
	durable_open(&port->durable, len, granule);
	if (granule && !port->geometry.read_only && image_look_again(image, &look) &&
	    look.granule == granule && !look.has_snapshots)
		image_note_durable(port->disk, &port->durable, NOTE_AGAIN_NS);
}

void image_turn(struct image *image, const char *path, enum bpull_format format, struct port *port)
{
	struct image new = { .path = strdup(path), .format = format, .how = image->how, .fd = -1 };
	uint64_t len = port->geometry.len;
	struct image_look look = { 0 };
	bool is_known;

	if (new.path) {
		image_close(image);
		*image = new;
		image_open_file(image);
	}
	is_known = new.path &&image_look_again(image, &look);
	/* One granule, of which nothing is known: all writes are made durable. */
	durable_renew(&port->durable, len, is_known ? look.granule : len + 1);
	if (!is_known)
		durable_forget(&port->durable);
	else if (look.granule && !look.has_snapshots)
		image_note_durable(port->disk, &port->durable, NOTE_AGAIN_NS);
}

int image_base_name(const struct image *image, struct bpull_disk *disk, const char *base,
		    char **name, struct bpull_error *error)
{
	struct bpull_disk_options o = *image->how;
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	uint32_t depth;
	int rc = bpull_disk_find(disk, base, &depth, error);

	o.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_FORCE_SHARE;
	o.opened = NULL;
	if (!rc)
		rc = bpull_info_open(image->path, &o, &info, error);
	if (rc)
		return rc;
	*name = bpull_info_layer(info, depth, &layer) ? NULL : strdup(layer.path);
	bpull_info_close(info);
	return *name ? 0 : -ENOMEM;
}

const char *image_serial(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}
