/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is the same for every image format: names, the choice of one, and the
 * few things each layer starts with. A table with registration was rejected:
 * three formats are known when this is compiled, and a switch lets the
 * compiler find the place that forgot one.
 */
#include "formats/format.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "io/base.h"

#define FORMAT_SHOWN 400 /* bytes of a name in a sentence */

/* A walk needs a handful of tables; one that asks for so many does not get on. */
#define FORMAT_MAX_LOADS 64

const char *format_name(enum image_format format)
{
	switch (format) {
	case IMAGE_RAW: return "raw";
	case IMAGE_QCOW2: return "qcow2";
	case IMAGE_QED: return "qed";
	case IMAGE_UNKNOWN: break;
	}
	return "unknown";
}

enum image_format format_by_name(const char *name, size_t len)
{
	static const enum image_format all[] = { IMAGE_RAW, IMAGE_QCOW2, IMAGE_QED };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		const char *known = format_name(all[i]);

		if (strlen(known) == len && !memcmp(known, name, len))
			return all[i];
	}
	return IMAGE_UNKNOWN;
}

static const char *shown_name(const struct file *file, char shown[FORMAT_SHOWN])
{
	return err_escape(file->name, strlen(file->name), shown, FORMAT_SHOWN);
}

int format_probe(struct file *file, enum image_format *out, struct err *err)
{
	char shown[FORMAT_SHOWN];
	uint8_t head[FOREIGN_HEAD_LEN]; /* a file too short for one is read as zeros, and raw */
	const char *other;
	int rc = file_read_padded(file, head, sizeof(head), 0);

	if (rc < 0)
		return err_errno(err, rc, "%s: can't read its first bytes to find its format",
				 shown_name(file, shown));
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
			shown_name(file, shown), other);
	return 0;
}

static int open_as(enum image_format format, struct file *file, struct table_cache *cache,
		   struct layer **out, struct err *err)
{
	switch (format) {
	case IMAGE_RAW: return raw_open(file, cache, out, err);
	case IMAGE_QCOW2: return qcow2_open(file, cache, out, err);
	case IMAGE_QED: return qed_open(file, cache, out, err);
	case IMAGE_UNKNOWN: break;
	}
	char shown[FORMAT_SHOWN];
	return err_set(err, -EINVAL, "%s: no image format was given; name raw, qcow2 or qed",
		       shown_name(file, shown));
}

int format_open(enum image_format format, struct file *file, struct table_cache *cache,
		struct layer **out, struct err *err)
{
	struct layer *layer;
	int rc = open_as(format, file, cache, &layer, err);

	if (rc < 0)
		return rc;
	assert(layer->ops->format == format && is_power_of_2(layer->cluster_len));
	/* So that guest offsets can be added and rounded up everywhere without a check. */
	if (layer->guest_len > INT64_MAX - GiB) {
		char shown[FORMAT_SHOWN];

		err_set(err, -EUCLEAN,
			"%s: its virtual size of %" PRIu64 " bytes is more than any disk has; "
			"restore it from a copy",
			shown_name(file, shown), layer->guest_len);
		layer_close(layer);
		return -EUCLEAN;
	}
	layer->file = layer->data = file;
	layer->cache = cache;
	layer->pull_len = layer->guest_len;
	layer->hint_off = layer->hint_end = 0;
	layer->n_users = 0;
	layer->is_overlay = false;
	*out = layer;
	return 0;
}

void layer_close(struct layer *layer)
{
	if (layer)
		layer->ops->close(layer);
}

int layer_map_now(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out)
{
	for (unsigned n_loads = 0; n_loads < FORMAT_MAX_LOADS; n_loads++) {
		struct table_need need;
		int rc = layer->ops->map(layer, guest_off, len, out, &need);

		if (rc == TABLE_NEED)
			rc = table_load_now(layer->cache, &need);
		else
			return rc;
		if (rc < 0)
			return rc;
	}
	return -EUCLEAN;
}

int layer_refuse(const struct layer *layer, const struct refusal *refusal, struct err *err)
{
	char shown[FORMAT_SHOWN];
	const char *advice = "; use an image without it (qemu-img convert makes one)";

	if (!refusal->code)
		return 0;
	if (refusal->code == -EUCLEAN)
		advice = "; check and repair a copy of it (qemu-img check -r all) first";
	if (strchr(refusal->why, ';')) /* the reason says itself what to do */
		advice = "";
	err_set(err, refusal->code, "%s: %s%s", shown_name(layer->file, shown), refusal->why,
		advice);
	return err_remedy(err, refusal->code, refusal->remedy, NULL);
}
