/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Images at rest: info, check, repair, measure. Offline and blocking, with a small
 * table cache and no ring. Opening an engine only to read a header was rejected.
 */
#include "engine/api/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/api/args.h"
#include "engine/api/open_flags.h"
#include "engine/api/options.h"
#include "engine/api/told.h"
#include "engine/blockpull.h"
#include "engine/commit/mixed.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/job/damage.h"
#include "engine/job/measure.h"
#include "engine/job/plan_walk.h"
#include "engine/job/target.h"
#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/layer_set.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_compress.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define INSPECT_CACHE_LEN (16 * MiB)

/* ---- a chain without an engine ---- */

void offline_chain_close(struct offline_chain *look)
{
	if (look->chain)
		chain_close(look->chain, NULL, NULL);
	if (look->layers)
		layer_set_free(look->layers);
	if (look->cache)
		table_cache_free(look->cache);
}

int offline_chain_open(struct offline_chain *look, const char *path,
		       const struct bpull_disk_options *o, enum look_at at, struct err *err)
{
	struct path_policy policy = { 0 };
	struct chain_open how = options_chain(o, path, &policy);
	int rc;

	*look = (struct offline_chain){ .cache = table_cache_new(INSPECT_CACHE_LEN) };
	look->layers = look->cache ? layer_set_new(file_opener_posix(), look->cache) : NULL;
	if (!look->layers) {
		offline_chain_close(look);
		return err_set(err, -ENOMEM, "out of memory");
	}
	how.allow_unreadable = at == LOOK_AT_HEADERS;
	how.write = how.for_repair = at == LOOK_FOR_REPAIR;
	rc = policy_build(o, path, &policy, err);
	if (!rc) {
		rc = told_open_chain(look->layers, o, &how, &look->chain, err);
		policy_free(&policy);
	}
	if (rc)
		offline_chain_close(look);
	return rc;
}

/* ---- info ---- */

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
		.unwritable_remedy = (enum bpull_remedy)layer->refused.write.remedy,
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

/* ---- check ---- */

struct reporter {
	void (*report)(void *opaque, int is_leak, const char *text);
	void *opaque;
};

static void pass_report(void *opaque, bool is_leak, const char *text)
{
	struct reporter *r = opaque;

	r->report(r->opaque, is_leak, text);
}

/* Checks, or checks, repairs and checks again. */
static int check_or_repair(struct layer *layer, const struct bpull_check_options *o,
			   struct repair *repair, struct err *err)
{
	int rc;

	if (o->repair != BPULL_REPAIR_NONE)
		return layer_repair(layer, repair, err);
	rc = layer_check(layer, &repair->found, err);
	repair->left = repair->found;
	return rc;
}

static uint64_t n_fixed(uint64_t before, uint64_t after)
{
	return before > after ? before - after : 0;
}

static int check_layer(struct layer *layer, const struct bpull_check_options *o,
		       struct bpull_check_result *out, struct err *err)
{
	struct reporter r = { o->report, o->opaque };
	struct repair repair = {
		.all = o->repair == BPULL_REPAIR_ALL,
		.found = { .report = o->report ? pass_report : NULL,
			   .opaque = &r,
			   .max_reports = o->max_reports ? o->max_reports : 100 },
	};
	const struct check_result *left = &repair.left;
	struct shown shown;
	int rc;

	if (!layer_can_check(layer))
		return err_set(err, -ENOTSUP, "%s: a %s image has nothing to check",
			       file_show(layer->file, &shown), layer_format_name(layer));
	rc = layer_refuse(layer, &layer->refused.check, err);
	if (!rc)
		rc = check_or_repair(layer, o, &repair, err);
	if (rc)
		return rc;
	*out = (struct bpull_check_result){
		.format = (enum bpull_format)layer_format(layer),
		.n_corruptions = left->n_errors,
		.n_leaks = left->n_leaks,
		.n_check_errors = left->n_check_errors,
		.n_allocated_clusters = left->n_allocated_clusters,
		.n_compressed_clusters = left->n_compressed_clusters,
		.n_zero_clusters = left->n_zero_clusters,
		.n_total_clusters = left->n_total_clusters,
		.image_end_offset = left->image_end_off,
		.n_corruptions_fixed = n_fixed(repair.found.n_errors, left->n_errors),
		.n_leaks_fixed = n_fixed(repair.found.n_leaks, left->n_leaks),
		.marks_cleared = repair.was_marked,
		.mixed = layer->is_mixed,
	};
	memcpy(out->unrepaired, repair.why, sizeof(repair.why));
	/* Errors found after a repair are not reported one by one. */
	if (o->repair && left->n_check_errors && !repair.why[0])
		snprintf(out->unrepaired, sizeof(out->unrepaired), "what is left is not known: %s",
			 left->incomplete);
	return 0;
}

int bpull_check(const char *path, const struct bpull_check_options *options,
		struct bpull_check_result *result, struct bpull_error *error)
{
	struct bpull_disk_options disk = { .flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING };
	struct bpull_check_options o;
	struct err err = { 0 };
	struct bpull_check_result checked = { 0 };
	struct offline_chain look;
	int rc;

	error_begin(error);
	if (is_missing(path, "path", error) ||
	    is_unfit(result, "result", RESULT_FIRST_LEN(struct bpull_check_result, mixed), error))
		return -EINVAL;
	if (!options_import(&o, sizeof(o), options) || o.format > OPTIONS_LAST_FORMAT ||
	    o.repair > BPULL_REPAIR_ALL)
		return error_fill(error, -EINVAL, "unknown check options");
	if (open_flags_check(o.repair ? OPEN_REPAIR : OPEN_CHECK, o.flags, &err))
		return error_export(&err, error);
	disk.size = sizeof(disk);
	disk.flags |= o.flags;
	disk.format = o.format;
	rc = offline_chain_open(&look, path, &disk, o.repair ? LOOK_FOR_REPAIR : LOOK_AT_HEADERS,
				&err);
	if (rc)
		return error_export(&err, error);
	if (o.opened)
		o.opened(o.opaque);
	rc = check_layer(look.chain->layers[0], &o, &checked, &err);
	offline_chain_close(&look);
	if (rc)
		return error_export(&err, error);
	result_export(result, &checked, sizeof(checked));
	return 0;
}

/* Refuses what a job with these options refuses before its first write. measure_walk() looks at the
 * overlay's own tables. */
static int refuse_job(struct plan_walk *w, const struct bpull_job_options *job,
		      const char *base_name, struct err *err)
{
	const struct chain *chain = w->chain;
	const struct layer *overlay = chain->layers[0];
	struct plan_walk damage = *w; /* a copy, because it counts by itself */
	int rc = 0;

	for (unsigned i = 0; !rc && i < chain->n_layers; i++)
		rc = layer_refuse(chain->layers[i], &chain->layers[i]->refused.read, err);
	if (rc || !overlay->has_backing || chain->pull_to < 2)
		return rc;
	rc = layer_refuse(overlay, &overlay->refused.write, err);
	if (!rc)
		rc = measure_refuse_read_only(overlay, err);
	if (!rc)
		rc = mixed_refuse(overlay, job->flags & BPULL_JOB_ACCEPT_MIXED, err);
	if (!rc)
		rc = chain_plan_link(chain, base_name, err);
	return rc ? rc : damage_refuse(&damage, err);
}

/* Plans the job: the layer it pulls to, the base's name in the image, and the spare space. */
static int plan_job(struct plan_walk *w, const struct bpull_job_options *job, char **base_name,
		    struct err *err)
{
	struct layer *overlay = w->chain->layers[0];
	struct shown shown;
	int rc = job_find_base(w->chain, job, &w->chain->pull_to, base_name, err);

	if (rc || !job->compression || !overlay->has_backing)
		return rc;
	if (!layer_can_compress(overlay))
		return err_set(err, -ENOTSUP,
			       "%s: %s images have no compressed clusters; measure without "
			       "compression",
			       file_show(overlay->file, &shown), layer_format_name(overlay));
	w->n_data = div_round_up(COMPRESSION_SPARE_LEN, overlay->cluster_len);
	return layer_may_compress(overlay, (enum layer_compression)job->compression,
				  job->compression_level, err);
}

int bpull_measure_job(const char *path, const struct bpull_disk_options *options,
		      const struct bpull_job_options *job, struct bpull_measure *result,
		      struct bpull_error *error)
{
	struct bpull_job_options j = { 0 };
	struct bpull_measure measured;
	struct bpull_disk_options o;
	struct err err = { 0 };
	struct plan_walk w = { 0 };
	autofree char *base_name = NULL;
	struct offline_chain look;
	int rc;

	error_begin(error);
	if (is_missing(path, "path", error) ||
	    is_unfit(result, "result", RESULT_FIRST_LEN(struct bpull_measure, data_missing), error))
		return -EINVAL;
	rc = options_take(OPEN_MEASURE, options, &o, error);
	if (rc)
		return rc;
	if (!options_import(&j, sizeof(j), job) || j.compression > BPULL_COMPRESSION_ZSTD)
		return error_fill(error, -EINVAL, "unknown job options");
	o.flags = (o.flags | BPULL_DISK_READ_ONLY) & ~(uint32_t)BPULL_DISK_DIRECT;
	rc = offline_chain_open(&look, path, &o, LOOK_AT_CHAIN, &err);
	if (rc)
		return error_export(&err, error);
	w.chain = look.chain;
	w.cache = look.cache;
	rc = plan_job(&w, &j, &base_name, &err); /* no file is opened after this */
	if (o.opened)
		o.opened(o.user_data);
	if (!rc)
		rc = refuse_job(&w, &j, base_name, &err);
	if (!rc)
		rc = measure_walk(&w, &measured, &err);
	offline_chain_close(&look);
	if (rc)
		return error_export(&err, error);
	result_export(result, &measured, sizeof(measured));
	return 0;
}

int bpull_image_measure(const char *path, const struct bpull_disk_options *options,
			struct bpull_measure *result, struct bpull_error *error)
{
	return bpull_measure_job(path, options, NULL, result, error);
}
