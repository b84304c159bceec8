/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What an image, and each image of its chain, is.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/api/images/offline_chain.h"
#include "engine/api/options/args.h"
#include "engine/api/options/open_flags.h"
#include "engine/api/options/options.h"
#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "engine/core/export.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

struct bpull_info {
	struct offline_chain look;
};

int bpull_info_open(const char *path, const struct bpull_disk_options *options,
		    struct bpull_info **out, struct bpull_error *error)
{
	struct bpull_disk_options o;
	struct err err = { 0 };
	struct bpull_info *info;
	int rc;

	error_begin(error);
	if (is_missing(path, "path", error) || is_missing(out, "info", error))
		return -EINVAL;
	rc = options_take(OPEN_INFO, options, &o, error);
	if (rc)
		return rc;
	info = calloc(1, sizeof(*info));
	if (!info)
		return error_fill(error, -ENOMEM, "out of memory");
	rc = offline_chain_open(&info->look, path, &o, LOOK_AT_HEADERS, &err);
	if (rc) {
		free(info);
		return error_export(&err, error);
	}
	if (o.opened)
		o.opened(o.user_data);
	*out = info;
	return 0;
}

unsigned bpull_info_depth(const struct bpull_info *info)
{
	return info ? info->look.chain->n_layers : 0;
}

static const char *backing_format_name(const struct layer *layer)
{
	if (layer->backing.format != IMAGE_UNKNOWN)
		return format_name(layer->backing.format);
	return layer->backing.format_name[0] ? layer->backing.format_name : NULL;
}

static enum bpull_format_from backing_format_from(const struct chain *chain, unsigned i)
{
	static const enum bpull_format_from as[] = {
		[CHAIN_FORMAT_RECORDED] = BPULL_FORMAT_RECORDED,
		[CHAIN_FORMAT_TOLD] = BPULL_FORMAT_TOLD,
		[CHAIN_FORMAT_PROBED] = BPULL_FORMAT_PROBED,
	};
	const struct layer *layer = chain->layers[i];

	if (!layer->has_backing)
		return BPULL_FORMAT_NOT_KNOWN;
	if (i + 1 < chain->n_layers)
		return as[chain->format_from[i + 1]];
	if (backing_format_name(layer))
		return BPULL_FORMAT_RECORDED;
	return layer->backing.probe ? BPULL_FORMAT_PROBED : BPULL_FORMAT_NOT_KNOWN;
}

static uint64_t allocated_len(const struct file *file)
{
	struct stat st;

	return file->fd >= 0 && !fstat(file->fd, &st) ? (uint64_t)st.st_blocks * 512 : file->len;
}

int bpull_info_layer(const struct bpull_info *info, unsigned i, struct bpull_layer_info *out)
{
	const struct chain *chain;
	struct bpull_layer_info described;
	const struct layer *layer;
	struct layer_info more;

	if (i >= bpull_info_depth(info) ||
	    is_unfit(out, "layer", RESULT_FIRST_LEN(struct bpull_layer_info, unwritable_remedy),
		     NULL))
		return -EINVAL;
	chain = info->look.chain;
	layer = chain->layers[i];
	layer_describe(layer, &more);
	described = (struct bpull_layer_info){
		.path = layer->file->name,
		.format = (enum bpull_format)layer_format(layer),
		.virtual_size = layer->guest_len,
		.file_size = layer->file->len,
		.disk_size = allocated_len(layer->file),
		.cluster_size = layer->cluster_len,
		.backing_name = layer->has_backing ? layer->backing.name : NULL,
		.backing_format = layer->has_backing ? backing_format_name(layer) : NULL,
		.version = more.version,
		.refcount_bits = more.refcount_bits,
		.table_size = more.table_clusters,
		.n_snapshots = more.n_snapshots,
		.compression = more.compression,
		.encryption = more.encryption,
		.dirty = more.dirty,
		.corrupt = more.corrupt,
		.lazy_refcounts = more.lazy_refcounts,
		.extended_l2 = more.extended_l2,
		.has_data_file = more.has_data_file,
		.has_bitmaps = more.has_bitmaps,
		.unreadable = layer->refused.read.code ? layer->refused.read.why : NULL,
		.unwritable = layer->refused.read.code    ? layer->refused.read.why
			      : layer->refused.write.code ? layer->refused.write.why
							  : NULL,
		.data_file = more.data_file,
		.data_file_raw = more.data_file_raw,
		.mixed = layer->is_mixed,
		.backing_format_from = backing_format_from(chain, i),
		.unwritable_remedy =
			(enum bpull_remedy)(layer->refused.read.code ? layer->refused.read.remedy
								     : layer->refused.write.remedy),
	};
	if (i + 1 < chain->n_layers)
		described.backing_opened_as = (enum bpull_format)layer_format(chain->layers[i + 1]);
	result_export(out, &described, sizeof(described));
	return 0;
}

void bpull_info_close(struct bpull_info *info)
{
	if (!info)
		return;
	offline_chain_close(&info->look);
	free(info);
}
