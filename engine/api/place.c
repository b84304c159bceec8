/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/api/place.h"

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

static int place_find(const struct bpull_disk *disk, const struct bpull_job_options *o,
		      struct place *place, struct err *err)
{
	struct shown shown;
	int rc = 0;

	*place = (struct place){ .is_commit = o->type == BPULL_JOB_TYPE_COMMIT };
	if (!o->top && !place->is_commit)
		return 0;
	if (disk->flatten)
		return err_set(err, -EINVAL,
			       "a flatten copies the source as a whole: leave type and top out");
	if (o->top)
		rc = find_layer(disk, o->top, &place->top, err);
	if (rc || !place->is_commit)
		return rc;
	place->base = place->top + 1;
	if (o->base)
		rc = find_layer(disk, o->base, &place->base, err);
	if (!rc && (place->base <= place->top || place->base >= disk->chain->n_layers))
		rc = err_set(err, -EINVAL,
			     "'%s' has no such file below it to commit into; nothing was changed",
			     file_show(disk->chain->layers[place->top]->file, &shown));
	return rc;
}

/* The depth of that one's image. */
static unsigned depth_of(const struct place *place)
{
	return place->is_commit && place->top ? place->top - 1 : place->top;
}

unsigned place_from(const struct place *place)
{
	return place->top ? 1 : 0;
}

unsigned place_to(const struct place *place)
{
	return place->base - depth_of(place);
}

/* What a commit can't do that a pull can. */
static int refuse_commit(const struct bpull_disk *disk, const struct bpull_job_options *o,
			 const struct place *place, struct err *err)
{
	if (!place->is_commit)
		return o->flags & BPULL_JOB_KEEP
			       ? err_set(err, -EINVAL, "only a commit can keep what it commits")
			       : 0;
	if (o->compression || o->copy == BPULL_COPY_CLONE || o->on_error == BPULL_ON_ERROR_IGNORE)
		return err_set(err, -ENOTSUP,
			       "a commit does not compress, only share blocks, or leave out what "
			       "can't be read");
	if (o->flags & BPULL_JOB_KEEP && place->top)
		return err_set(err, -EINVAL,
			       "a commit of backing files changes none of them but its target");
	if (!place->top && o->base_name && (place->base == 1 || o->flags & BPULL_JOB_KEEP))
		return err_set(err, -EINVAL,
			       "base_name is given, but this job leaves the image's link as it is");
	return 0;
}

int place_find_worker(struct bpull_disk *disk, const struct bpull_job_options *o,
		      struct place *place, struct bpull_disk **out, struct err *err)
{
	int rc = place_find(disk, o, place, err);

	*out = disk;
	if (!rc)
		rc = refuse_commit(disk, o, place, err);
	if (rc || !depth_of(place))
		return rc;
	*out = node_new(disk, depth_of(place));
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

struct bpull_job_options place_options(const struct bpull_job_options *options,
				       const struct bpull_disk *disk, const struct place *place)
{
	struct bpull_job_options o = *options;

	if (!place->is_commit)
		return o;
	o.base = disk->chain->layers[place->base]->file->name;
	if (!place->top && (place->base == 1 || o.flags & BPULL_JOB_KEEP))
		o.base = o.base_name = NULL;
	return o;
}
