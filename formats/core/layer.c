/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is the same for layers of every format: names of formats, refusals, a map that waits. */
#include "formats/core/layer.h"

#include <errno.h>
#include <string.h>

#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

/* A lookup needs a handful of tables; one that asks for more than this gets nowhere. */
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
	for (int i = IMAGE_RAW; i <= IMAGE_LAST; i++) {
		const char *known = format_name((enum image_format)i);

		if (strlen(known) == len && !memcmp(known, name, len))
			return (enum image_format)i;
	}
	return IMAGE_UNKNOWN;
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
		int rc = layer_map(layer, guest_off, len, out, &need);

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
	struct shown shown;
	const char *advice = "; use an image without it (qemu-img convert makes one)";

	if (!refusal->code)
		return 0;
	if (refusal->code == -EUCLEAN)
		advice = "; check and repair a copy of it (qemu-img check -r all) first";
	if (strchr(refusal->why, ';')) /* the reason says itself what to do */
		advice = "";
	err_set(err, refusal->code, "%s: %s%s", file_show(layer->file, &shown), refusal->why,
		advice);
	return err_remedy(err, refusal->code, refusal->remedy, NULL);
}
