/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The files stay open while other programs may change them: their names may lead elsewhere
 * when they are wanted again, and a process in a sandbox opens none. chain_wake() reads again all
 * that was read of them. Comparing times and keeping what is unchanged was rejected: a program
 * that writes through a mapping leaves no time, and the gain is one look at the headers.
 */
#include "formats/chain/rest.h"

#include <errno.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "formats/chain/hidden.h"
#include "formats/chain/layer_set.h"
#include "formats/chain/name.h"
#include "formats/chain/open.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"

/* Other chains hold the layer and keep its locks: so no program changes it. */
static bool is_kept_by_others(const struct layer *layer)
{
	return layer->n_users > 1;
}

static void rest_layer(struct chain *chain, struct layer *layer)
{
	table_cache_forget(layer_set_cache(chain->set), layer->file);
	layer_set_keep_apart(chain->set, layer, true);
	file_rest(layer->file);
	if (layer->data != layer->file)
		file_rest(layer->data);
}

void chain_rest(struct chain *chain)
{
	for (unsigned i = 0; i < chain->n_layers; i++)
		if (!is_kept_by_others(chain->layers[i]))
			rest_layer(chain, chain->layers[i]);
}

static int wake_files(struct layer *layer, unsigned lock_wait_ms, struct err *err)
{
	int rc = file_wake(layer->file, lock_wait_ms, err);

	return rc || layer->data == layer->file ? rc : file_wake(layer->data, lock_wait_ms, err);
}

static int say_stale(const struct layer *layer, const char *what, struct err *err)
{
	struct shown shown;

	return err_set(err, -ESTALE,
		       "'%s': another program has changed %s while the disk was inactive: close "
		       "the disk, and open it again",
		       file_show(layer->file, &shown), what);
}

static bool names_same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

int chain_read_again(struct chain *chain, struct layer *layer, struct layer **out, struct err *err)
{
	struct layer *fresh;
	int rc;

	table_cache_forget(layer_set_cache(chain->set), layer->file);
	rc = format_open(layer_format(layer), layer->file, layer_set_cache(chain->set), &fresh,
			 err);

	if (rc)
		return rc;
	rc = layer_refuse(fresh, &fresh->refused.read, err);
	if (!rc && layer->is_overlay && layer_format(fresh) != IMAGE_RAW)
		rc = layer_refuse(fresh, &fresh->refused.write, err);
	if (!rc && (fresh->has_data_file != layer->has_data_file ||
		    !names_same(fresh->data_name, layer->data_name)))
		rc = say_stale(layer, "the name of its data file", err);
	if (rc) {
		layer_close(fresh);
		return rc;
	}
	fresh->data = layer->data == layer->file ? fresh->file : layer->data;
	fresh->backing.told_raw = layer->backing.told_raw;
	*out = fresh;
	return 0;
}

static bool has_same_link(const struct layer *a, const struct layer *b)
{
	return a->has_backing == b->has_backing &&
	       (!a->has_backing || !strcmp(a->backing.name, b->backing.name));
}

/* The layer that the overlay's new link leads to; n_layers: the link is gone; 0: it leads to no
 * file of the chain. */
static unsigned find_link(const struct chain *chain, const struct layer *overlay)
{
	struct err ignored;
	autofree char *path = NULL;

	if (!overlay->has_backing)
		return chain->n_layers;
	for (unsigned i = 1; i < chain->n_layers; i++)
		if (chain->layers[i]->file->is_source &&
		    !strcmp(chain->layers[i]->file->name, overlay->backing.name))
			return i;
	if (chain_backing_path(overlay->file->name, overlay->backing.name, &path, &ignored))
		return 0;
	for (unsigned i = 1; i < chain->n_layers; i++)
		if (!strcmp(chain->layers[i]->file->name, path))
			return i;
	return 0;
}

static int wake_layer(struct chain *chain, unsigned i, unsigned *to, struct err *err)
{
	struct layer *layer = chain->layers[i], *fresh;
	int rc = chain_read_again(chain, layer, &fresh, err);

	if (rc)
		return rc;
	if (!has_same_link(layer, fresh)) {
		*to = i ? 0 : find_link(chain, fresh);
		if (!*to) {
			rc = say_stale(layer, "its backing file", err);
			layer_close(fresh);
			return rc;
		}
	}
	layer_set_replace(chain->set, layer, fresh);
	chain->layers[i] = fresh;
	return 0;
}

static void drop_between(struct chain *chain, unsigned to,
			 void (*file_closing)(void *opaque, struct file *file), void *opaque)
{
	struct file *files = NULL;

	chain_hide(chain, 1, to);
	chain_drop_hidden(chain, file_closing, opaque, &files);
	file_close_all(files);
}

int chain_wake(struct chain *chain, unsigned lock_wait_ms,
	       void (*file_closing)(void *opaque, struct file *file), void *opaque, struct err *err)
{
	unsigned to = 1;
	int rc = 0;

	for (unsigned i = 0; !rc && i < chain->n_layers; i++)
		if (!is_kept_by_others(chain->layers[i]))
			rc = wake_files(chain->layers[i], lock_wait_ms, err);
	for (unsigned i = 0; !rc && i < chain->n_layers; i++)
		if (!is_kept_by_others(chain->layers[i]) && (!i || i >= to))
			rc = wake_layer(chain, i, &to, err);
	if (rc) {
		chain_rest(chain);
		return rc;
	}
	if (to > 1)
		drop_between(chain, to, file_closing, opaque);
	for (unsigned i = 0; i < chain->n_layers; i++)
		layer_set_keep_apart(chain->set, chain->layers[i], false);
	chain->pull_to = chain->n_layers;
	return 0;
}
