/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Raw: the file is the disk. guest_len is the file's length to the byte, so it
 * may end within a sector; what a guest sees of that sector behind the end is
 * zeros. Holes of the file, where its file system is to be trusted, are
 * EXTENT_ZERO, so that they are neither read nor copied.
 *
 * Reporting them as unallocated was rejected: a raw image has no backing file
 * to ask. Being an overlay was rejected too: it could not record what it holds.
 */
#include "formats/raw/raw.h"

#include <errno.h>
#include <stdlib.h>

#include "formats/core/layer.h"
#include "formats/core/layer_guest.h"
#include "formats/core/layer_resize.h"
#include "formats/core/table_cache.h"
#include "formats/raw/raw_zeros.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_holes.h"

#define RAW_CLUSTER_LEN 512u

/* Extents end on sectors or at the end of the disk, whatever the file system reports: a sector
 * that is a hole in part is data. */
static int raw_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		   struct table_need *need)
{
	struct file_status status;
	uint64_t end;
	bool is_sector_end;
	int rc;

	if (layer->file->of_source.zeros && !layer->file->of_source.doubts_zeros)
		return raw_zeros_map(layer, guest_off, len, out, need);
	rc = file_status(layer->file, guest_off, &status);
	if (rc < 0)
		return rc;
	if (!status.len)
		return -EIO;

	end = guest_off + MIN(status.len, len);
	is_sector_end = is_aligned(end, RAW_CLUSTER_LEN) || end == layer->guest_len;
	if (status.is_hole && !is_sector_end && end < guest_off + len) {
		end = round_down(end, RAW_CLUSTER_LEN);
		status.is_hole = end > guest_off;
	}
	if (!status.is_hole)
		end = MIN(round_up(MAX(end, guest_off + 1), RAW_CLUSTER_LEN), guest_off + len);
	*out = (struct extent){
		.kind = status.is_hole ? EXTENT_ZERO : EXTENT_DATA,
		.guest_off = guest_off,
		.len = end - guest_off,
		.has_host = true, /* a hole has its place too, as `map` shows it */
		.host_off = guest_off,
	};
	return 0;
}

/* All of it is there to be written. */
static int raw_map_write(struct layer *layer, uint64_t guest_off, uint64_t len,
			 struct write_extent *out, struct table_need *need)
{
	(void)layer;
	(void)need;
	*out = (struct write_extent){
		.kind = WRITE_IN_PLACE, .guest_off = guest_off, .len = len, .host_off = guest_off
	};
	return 0;
}

static void raw_close(struct layer *layer)
{
	if (layer->file->of_source.zeros)
		table_cache_forget(layer->cache, layer->file->of_source.zeros);
	free(layer);
}

static int raw_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err)
{
	struct shown shown;

	(void)guest_len;
	if (!layer->file->is_block)
		return 0;
	return err_set(err, -ENOTSUP,
		       "%s: it is a device, whose size is not the image's: make the device larger, "
		       "and open it again",
		       file_show(layer->file, &shown));
}

static void raw_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len)
{
	(void)move;
	layer->guest_len = layer->backed_len = layer->alloc_end = guest_len;
}

static const struct layer_resize_ops resize_ops = {
	.may_grow = raw_may_grow,
	.set_len = raw_set_len,
};

/* All is written in place: nothing is placed or published. */
static const struct layer_guest_ops guest_ops = { .map_write = raw_map_write };

static const struct layer_ops raw_ops = {
	.format = IMAGE_RAW,
	.name = "raw",
	.guest_write = &guest_ops,
	.resize = &resize_ops,
	.map = raw_map,
	.close = raw_close,
};

void raw_make_ordinary(struct layer *layer)
{
	layer->ops = &raw_ops;
}

int raw_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err)
{
	struct layer *layer = calloc(1, sizeof(*layer));

	if (!layer)
		return err_set(err, -ENOMEM, "out of memory while opening a raw image");
	*layer = (struct layer){
		.ops = &raw_ops,
		.file = file,
		.cache = cache,
		.guest_len = file->len,
		.cluster_len = RAW_CLUSTER_LEN,
		.granule_len = RAW_CLUSTER_LEN,
		.refused.write = { .code = -ENOTSUP,
				   .why = "it is raw (or of no format known here), and so has no "
					  "backing file; pull into a qcow2 or QED overlay" },
		.zero_from = UINT64_MAX,
		.alloc_end = file->len,
	};
	*out = layer;
	return 0;
}
