/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/api/job_layers.h"

#include <errno.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/job/chain/node.h"
#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/layer_set.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

static int find_layer(const struct bpull_disk *disk, const char *name, unsigned *depth,
		      struct err *err)
{
	return chain_find_base(disk->chain, layer_set_opener(disk->chain->set), name, depth, err);
}

static int find_layers(const struct bpull_disk *disk, const struct bpull_job_options *o,
		       struct job_layers *layers, struct err *err)
{
	struct shown shown;
	int rc = 0;

	*layers = (struct job_layers){ .is_commit = o->type == BPULL_JOB_TYPE_COMMIT };
	if (!o->top && !layers->is_commit)
		return 0;
	if (disk->flatten)
		return err_set(err, -EINVAL,
			       "a flatten copies the source as a whole: leave type and top out");
	if (o->top)
		rc = find_layer(disk, o->top, &layers->top, err);
	if (rc || !layers->is_commit)
		return rc;
	layers->base = layers->top + 1;
	if (o->base)
		rc = find_layer(disk, o->base, &layers->base, err);
	if (!rc && (layers->base <= layers->top || layers->base >= disk->chain->n_layers))
		rc = err_set(err, -EINVAL,
			     "'%s' has no such file below it to commit into; nothing was changed",
			     file_show(disk->chain->layers[layers->top]->file, &shown));
	return rc;
}

/* The depth of the worker's image. A commit of backing files changes the link of the layer above
 * them. */
static unsigned depth_of(const struct job_layers *layers)
{
	return layers->is_commit && layers->top ? layers->top - 1 : layers->top;
}

unsigned job_layers_from(const struct job_layers *layers)
{
	return layers->top ? 1 : 0;
}

unsigned job_layers_to(const struct job_layers *layers)
{
	return layers->base - depth_of(layers);
}

/* Refuses what a pull can and a commit can't, or the other way round. */
static int refuse_commit(const struct bpull_disk *disk, const struct bpull_job_options *o,
			 const struct job_layers *layers, struct err *err)
{
	if (!layers->is_commit)
		return o->flags & BPULL_JOB_KEEP
			       ? err_set(err, -EINVAL, "only a commit can keep what it commits")
			       : 0;
	if (o->compression || o->copy == BPULL_COPY_CLONE || o->on_error == BPULL_ON_ERROR_IGNORE)
		return err_set(err, -ENOTSUP,
			       "a commit does not compress, only share blocks, or leave out what "
			       "can't be read");
	if (o->flags & BPULL_JOB_KEEP && layers->top)
		return err_set(err, -EINVAL,
			       "a commit of backing files changes none of them but its target");
	if (!layers->top && o->base_name && (layers->base == 1 || o->flags & BPULL_JOB_KEEP))
		return err_set(err, -EINVAL,
			       "base_name is given, but this job leaves the image's link as it is");
	return 0;
}

int job_layers_find_worker(struct bpull_disk *disk, const struct bpull_job_options *o,
			   struct job_layers *layers, struct bpull_disk **out, struct err *err)
{
	int rc = find_layers(disk, o, layers, err);

	*out = disk;
	if (!rc)
		rc = refuse_commit(disk, o, layers, err);
	if (rc || !depth_of(layers))
		return rc;
	*out = node_new(disk, depth_of(layers));
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

struct bpull_job_options job_layers_options(const struct bpull_job_options *options,
					    const struct bpull_disk *disk,
					    const struct job_layers *layers)
{
	struct bpull_job_options o = *options;

	if (!layers->is_commit)
		return o;
	o.base = disk->chain->layers[layers->base]->file->name;
	if (!layers->top && (layers->base == 1 || o.flags & BPULL_JOB_KEEP))
		o.base = o.base_name = NULL;
	return o;
}
