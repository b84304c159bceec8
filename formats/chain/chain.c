/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Backing chains: following recorded names.
 *
 * A recorded name is a stranger's wish. It is followed only as a plain path,
 * only where the policy lets it lead, only with a format that format.c
 * settles, and not in circles. Resolving names the way a shell or QEMU would (json:,
 * protocols, the process's directory) was rejected: each of these has
 * been used to read files of the host.
 *
 * Opening walks down in a loop, not by recursion: depth is the image's choice.
 */
#include "formats/chain/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/chain/format.h"
#include "formats/chain/layer_set.h"
#include "formats/chain/name.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "io/file/path_policy.h"

/* What opening a chain holds between two of its layers. */
struct chain_walk {
	const struct chain_open *how;
	struct chain *chain;
	char *name; /* of the last layer, as this chain came to it */
	struct path_policy policy;
	char *own_dir; /* of the overlay, where the policy is the default one */
	bool told_no_locks;
	bool is_new[CHAIN_MAX_DEPTH + 1];
};

static int out_of_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory while opening an image");
}

static void tell_no_locks(struct chain_walk *walk, const char *name)
{
	const struct chain_open *how = walk->how;

	if (!how->no_locks_here || walk->told_no_locks)
		return;
	walk->told_no_locks = true;
	how->no_locks_here(how->opaque, name);
}

static int take_layer(struct chain_walk *walk, struct layer_want *want, struct err *err)
{
	struct chain *chain = walk->chain;
	const struct chain_open *how = walk->how;
	unsigned i = chain->n_layers;
	struct layer *layer;
	bool no_locks;
	int rc;

	want->lock = !how->no_lock || how->write;
	want->outlives = how->outlives;
	want->at_rest = how->at_rest;
	want->holes = how->holes;
	want->watch = how->watch;
	want->giver = how->giver;
	want->above = chain;
	rc = layer_set_take(chain->set, want, &layer, &walk->is_new[i], &no_locks, err);
	if (rc < 0)
		return rc;
	chain->layers[i] = layer;
	chain->n_layers++;
	if (no_locks)
		tell_no_locks(walk, want->name);
	rc = how->allow_unreadable ? 0 : layer_refuse(layer, &layer->refused.read, err);
	if (!rc && want->write && !how->for_repair &&
	    !(how->allow_raw && layer_format(layer) == IMAGE_RAW))
		rc = layer_refuse(layer, &layer->refused.write, err);
	return rc;
}

/* A device has no directory of its own: what it shares /dev with is other people's disks. Whether
 * it is one, only the opened file says: its name may be a link, and may have been swapped. */
static int set_policy(struct chain_walk *walk, const struct file *overlay, struct err *err)
{
	const struct path_policy *given = walk->how->policy;

	walk->policy = given ? *given : (struct path_policy){ .rule = PATH_RULE_TREE };
	if (overlay->is_block || overlay->is_given || overlay->is_source) {
		walk->policy.own_dir = NULL;
	} else if (!given) {
		/* An absolute name, so there is a slash. */
		size_t dir_len = (size_t)(strrchr(overlay->real_name, '/') - overlay->real_name);

		walk->own_dir = strndup(overlay->real_name, dir_len ? dir_len : 1);
		if (!walk->own_dir)
			return out_of_memory(err);
		walk->policy.own_dir = walk->own_dir;
	}
	return 0;
}

static int open_overlay(struct chain_walk *walk, struct err *err)
{
	const struct chain_open *how = walk->how;
	struct layer_want want = {
		.name = how->name,
		.format = how->format,
		.write = how->write,
		.direct = how->direct,
	};
	struct chain_found found = { 0 };
	int rc = 0;

	walk->name = strdup(how->name);
	if (!walk->name)
		return out_of_memory(err);
	if (!how->write)
		rc = chain_find_image(&how->finder, how->name, &want.format, &found, err);
	if (rc)
		return rc;
	want.source = found.is_source ? &found.source : NULL;
	want.name = found.path ? found.path : how->name;
	found.is_source = false; /* it is taken over, whatever comes of it */
	rc = take_layer(walk, &want, err);
	chain_found_drop(&found);
	return rc < 0 ? rc : set_policy(walk, walk->chain->layers[0]->file, err);
}

/* Notes where a layer's format is from. Where the user called the overlay's backing file raw, the
 * overlay is to record that, if it can. */
static void note_format(struct chain_walk *walk, const struct chain_choice *choice)
{
	struct chain *chain = walk->chain;
	const struct layer *layer = chain->layers[choice->depth];

	chain->format_from[choice->depth] = (uint8_t)choice->from;
	if (choice->depth == 1 && choice->from == CHAIN_FORMAT_TOLD &&
	    layer_format(layer) == IMAGE_RAW && chain->layers[0]->is_overlay)
		chain->layers[0]->backing.told_raw = true;
}

/* What the recorded name is opened as: itself, where the program resolves it, else a path. */
static int backing_path(const struct chain_walk *walk, const struct layer *layer,
			const struct chain_found *found, char **out, struct err *err)
{
	if (!found->is_source && !found->path)
		return chain_name_path(walk->name, layer->backing.name, &chain_backing_use,
				       walk->how->relative_dir, out, err);
	*out = strdup(found->path ? found->path : layer->backing.name);
	return *out ? 0 : out_of_memory(err);
}

static int take_backing(struct chain_walk *walk, struct chain_choice *choice,
			struct chain_found *found, struct err *err)
{
	struct chain *chain = walk->chain;
	const struct layer *layer = choice->above;
	autofree char *path = NULL;
	char shown[CHAIN_NAME_SHOWN];
	struct layer_want want = {
		.policy = found->path && found->path_is_allowed ? NULL : &walk->policy,
		.choose = chain_choose_format,
		.opaque = choice,
		.recorded = layer->backing.name,
	};
	struct err cause = { 0 };
	int rc = backing_path(walk, layer, found, &path, err);

	if (rc)
		return rc;
	want.name = choice->path = path;
	choice->named = found->format;
	choice->is_source = found->is_source;
	rc = chain_can_choose(choice, err);
	if (rc < 0)
		return rc;
	chain->is_resolved[choice->depth] = found->is_source || found->path;
	want.source = found->is_source ? &found->source : NULL;
	found->is_source = false; /* it is taken over, whatever comes of it */
	rc = take_layer(walk, &want, &cause);
	if (rc < 0)
		return err_wrap(err, rc, &cause, "backing file", chain_name_show(walk->name, shown),
				chain_name_where(layer->backing.name));
	rc = chain_check_trust(choice, chain->layers[choice->depth], err);
	if (rc < 0)
		return rc;
	note_format(walk, choice);
	free(walk->name);
	walk->name = STEAL(path);
	return 0;
}

/* One step down, from the last layer to the file it names. */
static int open_backing(struct chain_walk *walk, struct err *err)
{
	const struct chain *chain = walk->chain;
	const struct layer *layer = chain->layers[chain->n_layers - 1];
	char shown[CHAIN_NAME_SHOWN];
	int rc;
	struct chain_choice choice = {
		.how = walk->how,
		.above = layer,
		.above_name = walk->name,
		.depth = chain->n_layers,
	};
	struct chain_found found;

	if (chain->n_layers > CHAIN_MAX_DEPTH)
		return err_set(err, -ELOOP,
			       "'%s' has more than %d images below it; shorten the chain (pull or "
			       "qemu-img commit) first",
			       chain_name_show(walk->how->name, shown), CHAIN_MAX_DEPTH);
	rc = chain_find_backing(&walk->how->finder, layer, walk->name, &found, err);
	if (!rc)
		rc = take_backing(walk, &choice, &found, err);
	chain_found_drop(&found);
	return rc;
}

/* The data file of the last layer, if it has one: named by the image as its backing file is, so
 * found and allowed as that would be. QEMU looks for it in the directory the process runs in. */
static int open_data_file(struct chain_walk *walk, struct err *err)
{
	const struct chain_open *how = walk->how;
	struct chain *chain = walk->chain;
	struct layer *layer = chain->layers[chain->n_layers - 1];
	char shown[CHAIN_NAME_SHOWN], other[CHAIN_NAME_SHOWN];
	int rc;

	autofree char *path = NULL;
	struct layer_want want = {
		.write = layer->is_overlay,
		.direct = layer->is_overlay && how->direct,
		.lock = !how->no_lock || how->write,
		.outlives = how->outlives,
		.at_rest = how->at_rest,
		.holes = how->holes,
		.watch = how->watch,
		.policy = &walk->policy,
		.giver = how->giver,
		.recorded = layer->data_name,
		.above = chain,
		.is_data = true,
	};
	struct err cause = { 0 };
	bool no_locks;

	if (!layer->has_data_file || how->allow_unreadable)
		return 0;
	if (layer->file->is_source)
		return err_set(err, -ENOTSUP,
			       "'%s' is read from another machine, and its data lies in a file of "
			       "its own, '%s', which is not supported: give that server an image "
			       "without one",
			       chain_name_show(walk->name, shown),
			       chain_name_show(layer->data_name, other));
	rc = chain_name_path(walk->name, layer->data_name, &chain_data_use, how->relative_dir,
			     &path, err);
	if (rc < 0)
		return rc;
	want.name = path;
	rc = layer_set_open_data(chain->set, &want, layer, &no_locks, &cause);
	if (rc < 0)
		return err_wrap(err, rc, &cause, "data file", chain_name_show(walk->name, shown),
				chain_name_where(layer->data_name));
	if (no_locks)
		tell_no_locks(walk, path);
	return 0;
}

static int open_layers(struct chain_walk *walk, struct err *err)
{
	const struct chain *chain = walk->chain;
	int rc = open_overlay(walk, err);

	if (!rc)
		rc = open_data_file(walk, err);
	while (!rc && !walk->how->no_backing && chain->layers[chain->n_layers - 1]->has_backing) {
		rc = open_backing(walk, err);
		if (!rc)
			rc = open_data_file(walk, err);
	}
	return rc ? rc : chain_check_told(walk->how, err);
}

int chain_open(struct layer_set *set, const struct chain_open *how, struct chain **out,
	       struct err *err)
{
	struct chain_walk walk = { .how = how, .chain = calloc(1, sizeof(*walk.chain)) };
	struct chain *chain = walk.chain;
	int rc;

	if (!chain)
		return out_of_memory(err);
	chain->set = set;
	rc = open_layers(&walk, err);
	free(walk.name);
	free(walk.own_dir);
	if (rc < 0) {
		chain_close(chain, how->file_closing, how->opaque);
		return rc;
	}
	/* Told only now: a file of a chain that failed half way was never given to a caller. */
	for (unsigned i = 0; i < chain->n_layers && how->file_opened; i++) {
		const struct layer *layer = chain->layers[i];

		if (walk.is_new[i])
			how->file_opened(how->opaque, layer->file);
		if (walk.is_new[i] && layer->data != layer->file)
			how->file_opened(how->opaque, layer->data);
	}
	chain->pull_to = chain->n_layers;
	*out = chain;
	return 0;
}

void chain_close(struct chain *chain, void (*file_closing)(void *opaque, struct file *file),
		 void *opaque)
{
	if (!chain)
		return;
	for (unsigned i = 0; i < chain->n_layers; i++)
		layer_set_drop(chain->set, chain->layers[i], file_closing, opaque);
	free(chain);
}

int chain_put_on_top(struct chain *chain, struct layer *layer, struct err *err)
{
	if (chain->n_layers > CHAIN_MAX_DEPTH)
		return err_set(err, -ELOOP, "the chain has too many images: shorten it first");
	memmove(chain->layers + 1, chain->layers, chain->n_layers * sizeof(chain->layers[0]));
	memmove(chain->is_resolved + 1, chain->is_resolved, chain->n_layers);
	memmove(chain->format_from + 1, chain->format_from, chain->n_layers);
	chain->is_resolved[0] = false;
	chain->format_from[0] = chain->format_from[1] = CHAIN_FORMAT_RECORDED;
	chain->layers[0] = layer;
	chain->pull_to = ++chain->n_layers;
	return 0;
}
