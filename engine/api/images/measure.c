/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The space that a pull would take, asked of an image at rest.
 */
#include <errno.h>

#include "engine/api/images/offline_chain.h"
#include "engine/api/options/args.h"
#include "engine/api/options/job_options.h"
#include "engine/api/options/options.h"
#include "engine/api/options/structs.h"
#include "engine/blockpull.h"
#include "engine/commit/mixed.h"
#include "engine/core/export.h"
#include "engine/job/ahead/damage.h"
#include "engine/job/ahead/measure.h"
#include "engine/job/ahead/plan_walk.h"
#include "engine/job/target.h"
#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/layer_set.h"
#include "formats/chain/turn.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

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

/* Makes the chain below the job's top the one to measure. *below: that chain, which the caller
 * closes; unchanged for a job without a top. */
static int take_top(struct plan_walk *w, const struct bpull_job_options *job, struct chain **below,
		    struct err *err)
{
	unsigned depth;
	int rc;

	if (job->type == BPULL_JOB_TYPE_COMMIT)
		return err_set(err, -ENOTSUP,
			       "only what a pull needs is measured, not what a commit does");
	if (!job->top)
		return 0;
	rc = chain_find_base(w->chain, layer_set_opener(w->chain->set), job->top, &depth, err);
	if (rc)
		return rc;
	*below = chain_share_below(w->chain, depth);
	if (!*below)
		return err_set(err, -ENOMEM, "out of memory");
	w->chain = *below;
	return 0;
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
			       "%s: %s images have no compressed clusters; leave "
			       "compression out",
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
	struct chain *below = NULL;
	int rc;

	error_begin(error);
	if (is_missing(path, "path", error) ||
	    is_unfit(result, "result", RESULT_FIRST_LEN(struct bpull_measure, data_missing), error))
		return -EINVAL;
	rc = options_take(OPEN_MEASURE, options, &o, error);
	if (rc)
		return rc;
	rc = job_options_take(job, &j, error);
	if (rc)
		return rc;
	o.flags = (o.flags | BPULL_DISK_READ_ONLY) & ~(uint32_t)BPULL_DISK_DIRECT;
	rc = offline_chain_open(&look, path, &o, LOOK_AT_CHAIN, &err);
	if (rc)
		return error_export(&err, error);
	w.chain = look.chain;
	w.cache = look.cache;
	rc = take_top(&w, &j, &below, &err);
	if (!rc)
		rc = plan_job(&w, &j, &base_name, &err); /* no file is opened after this */
	if (o.opened)
		o.opened(o.user_data);
	if (!rc)
		rc = refuse_job(&w, &j, base_name, &err);
	if (!rc)
		rc = measure_walk(&w, &measured, &err);
	chain_close(below, NULL, NULL);
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
