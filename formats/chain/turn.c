/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "formats/chain/turn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"

static int turn_files(struct layer *layer, bool write, struct err *err)
{
	int rc = file_turn(layer->file, write, err);

	if (rc || layer->data == layer->file)
		return rc;
	rc = file_turn(layer->data, write, err);
	if (rc && write)
		file_turn(layer->file, false, NULL);
	return rc;
}

static int may_write(const struct layer *layer, unsigned n_own, struct err *err)
{
	struct shown shown;

	if (layer->file->is_source)
		return err_set(err, -ENOTSUP,
			       "'%s' is read by a program or from another machine, and can't be "
			       "written to",
			       file_show(layer->file, &shown));
	if (layer->is_overlay || layer->n_users > n_own) {
		err_set(err, -EBUSY,
			layer->is_overlay ? "'%s' is being written to by this process already"
					  : "'%s' is in use by another disk of this process and "
					    "can't be changed; close that disk first",
			file_show(layer->file, &shown));
		return err_remedy(err, -EBUSY, ERR_REMEDY_CLOSE_DISK, NULL);
	}
	return layer_format(layer) == IMAGE_RAW ? 0
						: layer_refuse(layer, &layer->refused.write, err);
}

/* Refuses a file that was changed: what is known of it is of another state than what is on disk. */
static int refuse_changed(const struct layer *layer, struct err *err)
{
	struct shown shown;

	if (!file_changed(layer->file) &&
	    (layer->data == layer->file || !file_changed(layer->data)))
		return 0;
	return err_set(err, -ESTALE,
		       "'%s' was changed while this disk was open: close the disk, and open it "
		       "again",
		       file_show(layer->file, &shown));
}

int chain_check_writable(const struct chain *chain, unsigned i, unsigned n_own, struct err *err)
{
	int rc = may_write(chain->layers[i], n_own, err);

	return rc ? rc : refuse_changed(chain->layers[i], err);
}

int chain_turn_writable(struct chain *chain, unsigned i, unsigned n_own, struct err *err)
{
	struct layer *layer = chain->layers[i];
	int rc = chain_check_writable(chain, i, n_own, err);

	if (!rc)
		rc = turn_files(layer, true, err);
	if (rc)
		return rc;
	/* Another thread may have opened a disk on it meanwhile. */
	rc = may_write(layer, n_own, err);
	if (rc) {
		turn_files(layer, false, NULL);
		return rc;
	}
	/* It changes: nothing that was seen of it stays true. */
	layer->hint.off = layer->hint.end = 0;
	layer->is_checked = false;
	layer->is_overlay = true;
	return 0;
}

int chain_turn_read_only(struct chain *chain, unsigned i, struct err *err)
{
	return turn_files(chain->layers[i], false, err);
}

int chain_turn_read_only_begin(const struct chain *chain, unsigned i, struct err *err)
{
	const struct layer *layer = chain->layers[i];
	int rc = file_turn_begin(layer->file, false, err);

	return rc || layer->data == layer->file ? rc : file_turn_begin(layer->data, false, err);
}

void chain_turn_read_only_end(const struct chain *chain, unsigned i)
{
	const struct layer *layer = chain->layers[i];

	file_turn_end(layer->file, false);
	if (layer->data != layer->file)
		file_turn_end(layer->data, false);
}

struct chain *chain_share_below(const struct chain *chain, unsigned from)
{
	struct chain *below = calloc(1, sizeof(*below));

	if (!below)
		return NULL;
	below->set = chain->set;
	for (unsigned i = from; i < chain->n_layers; i++) {
		unsigned at = below->n_layers++;

		below->layers[at] = chain->layers[i];
		below->layers[at]->n_users++;
		below->format_from[at] = chain->format_from[i];
		below->is_resolved[at] = chain->is_resolved[i];
	}
	below->pull_to = below->n_layers;
	return below;
}
