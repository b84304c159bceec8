/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which format a file has, and opening it as that. A table with registration was
 * rejected: all formats are known when this is compiled, and a switch lets the
 * compiler find the place that forgot one.
 */
#include "formats/chain/open.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "formats/core/foreign.h"
#include "formats/core/layer.h"
#include "formats/qcow2/open.h"
#include "formats/qed/open.h"
#include "formats/raw/raw.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

int format_probe(struct file *file, enum image_format *out, struct err *err)
{
	struct shown shown;
	uint8_t head[FOREIGN_HEAD_LEN]; /* a file too short for one is read as zeros, and raw */
	const char *other;
	int rc = file_read_padded(file, head, sizeof(head), 0);

	if (rc < 0)
		return err_errno(err, rc, "%s: can't read its first bytes to find its format",
				 file_show(file, &shown));
	other = foreign_by_head(head);
	if (!memcmp(head, "QFI\xfb", 4)) /* of any version: qcow2_open() says which are known */
		*out = IMAGE_QCOW2;
	else if (!memcmp(head, "QED", 4)) /* with the terminating 0 */
		*out = IMAGE_QED;
	else if (!other)
		*out = IMAGE_RAW;
	else
		return err_set(
			err, -ENOTSUP,
			"'%s' looks like an image of the format %s, which is not supported: "
			"convert it to qcow2 (qemu-img convert -O qcow2), or, if it is a raw "
			"disk on which a guest wrote that, give its format as raw",
			file_show(file, &shown), other);
	return 0;
}

static int open_as(enum image_format format, struct file *file, struct table_cache *cache,
		   struct layer **out, struct err *err)
{
	struct shown shown;

	switch (format) {
	case IMAGE_RAW: return raw_open(file, cache, out, err);
	case IMAGE_QCOW2: return qcow2_open(file, cache, out, err);
	case IMAGE_QED: return qed_open(file, cache, out, err);
	case IMAGE_UNKNOWN: break;
	}
	return err_set(err, -EINVAL, "%s: no image format was given; name raw, qcow2 or qed",
		       file_show(file, &shown));
}

/* Atomic: the engines of a program run on threads of their own. */
static atomic_uint_fast64_t last_number;

int format_open(enum image_format format, struct file *file, struct table_cache *cache,
		struct layer **out, struct err *err)
{
	struct layer *layer;
	int rc = open_as(format, file, cache, &layer, err);

	if (rc < 0)
		return rc;
	assert(layer_format(layer) == format && is_power_of_2(layer->cluster_len));
	/* So that guest offsets can be added and rounded up everywhere without a check. */
	if (layer->guest_len > INT64_MAX - GiB) {
		struct shown shown;

		err_set(err, -EUCLEAN,
			"%s: its virtual size of %" PRIu64 " bytes is more than any disk has; "
			"restore it from a copy",
			file_show(file, &shown), layer->guest_len);
		layer_close(layer);
		return -EUCLEAN;
	}
	layer->file = layer->data = file;
	layer->cache = cache;
	layer->backed_len = layer->guest_len;
	layer->hint.off = layer->hint.end = 0;
	layer->n_users = 0;
	layer->is_overlay = false;
	layer->number = atomic_fetch_add(&last_number, 1) + 1;
	*out = layer;
	return 0;
}
