/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Checking an image at rest, and repairing it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

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
