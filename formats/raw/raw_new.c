/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A new raw file, as the top of a chain that is being flattened into it. It
 * has no tables: the guest's byte N goes to the file's byte N, nothing is ever
 * reserved or recorded, and what was not written is a hole and reads zeros.
 *
 * So map() answers that the file lacks everything, and there is nothing on disk
 * that a proof could read (no_tables): a flatten walks the disk once. Remembering
 * in memory what was written was rejected: a flatten asks for no range twice.
 */
#include "formats/raw/raw_new.h"

#include <errno.h>
#include <stdlib.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_header.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/raw/raw.h"
#include "io/base.h"
#include "io/err.h"

/* Zeros are found, and holes left, by so many bytes: the block of most file systems. */
#define RAW_NEW_CLUSTER_LEN 4096u

static int raw_new_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		       struct table_need *need)
{
	*out = (struct extent){ .kind = EXTENT_UNALLOCATED, .guest_off = guest_off, .len = len };
	return 0;
}

static int raw_new_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
			       struct destination *out, struct table_need *need)
{
	if (copy)
		return -ENOENT;
	*out = (struct destination){ .has_space = true, .host_off = guest_off, .len = len };
	return 0;
}

static int raw_new_begin_writing(struct layer *layer, struct err *err)
{
	return 0;
}

static int raw_new_alloc_tables(struct layer *layer, uint64_t guest_off, uint64_t len,
				struct table_need *need)
{
	return 0;
}

/* Every destination has its space. */
static int raw_new_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got)
{
	return -EINVAL;
}

static void raw_new_release(struct layer *layer, uint64_t host_off, uint64_t len)
{
}

static int raw_new_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
			   struct table_need *need)
{
	return 0;
}

static int raw_new_plan_link(struct layer *layer, const char *name, enum image_format format,
			     struct err *err)
{
	return 0;
}

static int raw_new_stage_link(struct layer *layer, struct staged *staged)
{
	return 0;
}

/* All was written: from now on the file itself says what it holds. */
static void raw_new_link_durable(struct layer *layer)
{
	raw_make_ordinary(layer);
}

static void raw_new_close(struct layer *layer)
{
	free(layer);
}

static const struct layer_fill_ops fill_ops = {
	.begin_writing = raw_new_begin_writing,
	.map_backed = raw_new_map,
	.alloc_tables = raw_new_alloc_tables,
	.copy_target = raw_new_copy_target,
	.reserve = raw_new_reserve,
	.release = raw_new_release,
	.publish = raw_new_publish,
};

static const struct layer_link_ops link_ops = {
	.plan_link = raw_new_plan_link,
	.stage_link = raw_new_stage_link,
	.link_durable = raw_new_link_durable,
};

static const struct layer_ops raw_new_ops = {
	.format = IMAGE_RAW,
	.name = "raw",
	.fill = &fill_ops,
	.link = &link_ops,
	.map = raw_new_map,
	.close = raw_new_close,
};

void raw_make_new(struct layer *layer)
{
	layer->ops = &raw_new_ops;
	layer->cluster_len = layer->granule_len = RAW_NEW_CLUSTER_LEN;
	layer->no_tables = true;
	layer->refused.write.code = 0;
	layer->zero_from = 0;
	layer->alloc_end = 0;
}
