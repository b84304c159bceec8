/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The images an engine has open. A template below a thousand overlays is
 * opened, locked, parsed and cached once. What makes two names the same image
 * is device and inode of the opened file: names lie (links, "..", renames).
 *
 * Reading a file lets other threads at the set (io/blocking.h): so a layer joins it
 * when it is complete, and what was asked before that is asked again.
 *
 * An overlay open for writing belongs to one chain alone. Inside one process
 * QEMU's locks say so too, but they can't say who holds them; so where the
 * opener answers -EBUSY, the file is looked at without locks to tell "this
 * engine has it" or "the chain is a loop" from "another program has it".
 */
#include "formats/chain/layer_set.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "formats/chain/identity.h"
#include "formats/chain/layer_entries.h"
#include "formats/chain/open.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/file_watch.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "io/source/expect.h"

/* A stranger's lock is asked for again this long. */
#define LOCK_WAIT_MS 1000

struct layer_set *layer_set_new(struct file_opener *opener, struct table_cache *cache)
{
	struct layer_set *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	set->watch = file_watch_new();
	if (!set->watch) {
		free(set);
		return NULL;
	}
	set->opener = opener;
	set->cache = cache;
	return set;
}

void layer_set_free(struct layer_set *set)
{
	if (!set)
		return;
	assert(!set->n);
	file_watch_free(set->watch);
	free(set->entries);
	free(set);
}

void layer_set_leave(struct layer_set *set)
{
	for (size_t i = 0; !atomic_load(&set->changes) && i < set->n; i++) {
		const struct layer *layer = set->entries[i].layer;

		file_leave(layer->file);
		if (layer->data != layer->file)
			file_leave(layer->data);
	}
	file_watch_leave(set->watch);
}

struct file_opener *layer_set_opener(const struct layer_set *set)
{
	return set->opener;
}

struct table_cache *layer_set_cache(struct layer_set *set)
{
	return set->cache;
}

/* A file that was opened for nothing. Where the program gave it, its description may be that of a
 * file in use, whose locks must stay; what is no other's ends with the descriptor. */
static void discard(struct file *file)
{
	if (file->is_given)
		file->is_locked = false;
	file_close(file);
}

/* Others of the engine may open and close images meanwhile. */
static int open_waiting(struct layer_set *set, const struct file_open *how, struct file **out,
			struct err *err)
{
	return WAITING(set->opener->open(set->opener, how, out, err));
}

/* Whether this engine itself holds the lock that was refused: -ELOOP or -EBUSY with a sentence. 0:
 * it does not, and *err is left alone. */
static int check_busy(struct layer_set *set, const struct layer_want *want, struct err *err)
{
	struct file_open look = { .name = want->name,
				  .policy = want->policy,
				  .giver = want->giver,
				  .recorded = want->recorded,
				  .is_data = want->is_data };
	struct file *file;
	int rc;

	if (open_waiting(set, &look, &file, NULL) < 0)
		return 0;
	rc = identity_check_given(set, want, file, err);
	if (!rc)
		rc = identity_check(set, want, file, err);
	discard(file);
	return rc;
}

static int open_file(struct layer_set *set, const struct layer_want *want, struct file **out,
		     bool *no_locks, struct err *err)
{
	struct file_open how = {
		.name = want->name,
		.write = want->write,
		.holes = want->holes,
		.direct = want->direct,
		.outlives = want->outlives,
		.past_cache = want->watch && !want->write,
		.at_rest = want->at_rest,
		.lock = want->write ? FILE_LOCK_OVERLAY : FILE_LOCK_SHARED,
		.lock_unsupported = no_locks,
		.watch = want->watch ? set->watch : NULL,
		.policy = want->policy,
		.giver = want->giver,
		.recorded = want->recorded,
		.is_data = want->is_data,
		.source = want->source,
	};
	int rc;

	*no_locks = false;
	if (!want->lock)
		how.lock = FILE_LOCK_NONE;
	rc = open_waiting(set, &how, out, err);
	for (int i = 0; rc == -EBUSY && i < 2; i++) {
		int ours = check_busy(set, want, err);

		if (ours < 0)
			return ours;
		if (i) /* what another thread was opening is open by now */
			break;
		how.lock_wait_ms = LOCK_WAIT_MS;
		rc = open_waiting(set, &how, out, err);
	}
	if (rc < 0)
		return rc;
	rc = identity_check_given(set, want, *out, err);
	if (!rc)
		rc = identity_check(set, want, *out, err);
	if (rc < 0)
		discard(*out);
	return rc;
}

/* The open layer that serves as well as one made from `file`: as safe from others, and not older
 * than the last change of the file. One with a data file never does: that one's name is another
 * chain's to follow, by another policy. */
static struct layer *find_shared(const struct layer_set *set, const struct file *file,
				 enum image_format format, bool lock)
{
	for (size_t i = 0; i < set->n; i++) {
		const struct layer_entry *entry = &set->entries[i];
		struct file *have = entry->layer->file;

		/* file_look() stands in front of mtime_ns, which it sets after a mere touch. */
		if (!entry->is_apart && !entry->layer->is_overlay && identity_is_same(have, file) &&
		    layer_format(entry->layer) == format && !entry->layer->has_data_file &&
		    (entry->locked || !lock) && file_look(have) == FILE_SAME &&
		    have->mtime_ns == file->mtime_ns && have->len == file->len &&
		    have->trust_holes == file->trust_holes &&
		    !have->of_source.zeros == !file->of_source.zeros &&
		    source_expect_is_same(have->of_source.expect, file->of_source.expect))
			return entry->layer;
	}
	return NULL;
}

static int reserve_entry(struct layer_set *set)
{
	int rc;

	atomic_store(&set->changes, true);
	rc = array_reserve(&set->entries, set->n, 1, &set->room, sizeof(*set->entries));
	atomic_store(&set->changes, false);
	return rc;
}

/* reserve_entry() has made room. */
static void add_entry(struct layer_set *set, struct layer *layer, const struct layer_want *want)
{
	atomic_store(&set->changes, true);
	set->entries[set->n++] = (struct layer_entry){ .layer = layer,
						       .locked = want->lock,
						       .is_apart = want->at_rest };
	atomic_store(&set->changes, false);
}

static struct layer_entry *entry_of(struct layer_set *set, const struct layer *layer)
{
	size_t i = 0;

	while (i < set->n && set->entries[i].layer != layer)
		i++;
	assert(i < set->n);
	return &set->entries[i];
}

static void take_out(struct layer_set *set, const struct layer *layer)
{
	struct layer_entry *entry = entry_of(set, layer);

	atomic_store(&set->changes, true);
	*entry = set->entries[--set->n];
	atomic_store(&set->changes, false);
}

/* A new layer joins the set, unless another thread was faster, or has begun to use the file in a
 * way that keeps this one out. On error, and where *out is another one, the new layer is gone. */
static int join(struct layer_set *set, const struct layer_want *want, struct layer *layer,
		struct layer **out, struct err *err)
{
	struct layer *shared;
	int rc = identity_check(set, want, layer->file, err);

	if (!rc && reserve_entry(set) < 0)
		rc = err_set(err, -ENOMEM, "out of memory while opening an image");
	shared = rc || want->write ? NULL
				   : find_shared(set, layer->file, layer_format(layer), want->lock);
	if (rc || shared) {
		table_cache_forget(set->cache, layer->file);
		layer_close(layer);
		*out = shared;
		return rc;
	}
	layer->is_overlay = want->write;
	add_entry(set, layer, want);
	*out = layer;
	return 0;
}

/* Makes a layer of the file, or finds that there is one. On error the file is still the caller's;
 * *is_new says whether it is the layer's. */
static int layer_of_file(struct layer_set *set, const struct layer_want *want, struct file *file,
			 struct layer **out, bool *is_new, struct err *err)
{
	enum image_format format = want->format;
	struct layer *layer;
	int rc = 0;

	if (want->choose)
		rc = want->choose(want->opaque, file, &format, err);
	else if (format == IMAGE_UNKNOWN)
		rc = format_probe(file, &format, err);
	if (rc < 0)
		return rc;
	*out = want->write ? NULL : find_shared(set, file, format, want->lock);
	if (!*out) {
		rc = format_open(format, file, set->cache, &layer, err);
		if (!rc)
			rc = join(set, want, layer, out, err);
		if (rc < 0)
			return rc;
	}
	*is_new = (*out)->file == file;
	(*out)->n_users++;
	return 0;
}

int layer_set_take(struct layer_set *set, const struct layer_want *want, struct layer **out,
		   bool *is_new, bool *no_locks, struct err *err)
{
	struct file *file;
	int rc = open_file(set, want, &file, no_locks, err);

	if (rc < 0)
		return rc;
	*is_new = false;
	rc = layer_of_file(set, want, file, out, is_new, err);
	if (rc < 0) {
		table_cache_forget(set->cache, file);
		discard(file);
		return rc;
	}
	if (!*is_new)
		discard(file); /* and its locks; those of the first opening stay */
	return 0;
}

int layer_set_open_data(struct layer_set *set, const struct layer_want *want, struct layer *layer,
			bool *no_locks, struct err *err)
{
	struct file *file;
	int rc = open_file(set, want, &file, no_locks, err);

	if (rc < 0)
		return rc;
	layer->data = file;
	return 0;
}

void layer_set_keep_apart(struct layer_set *set, const struct layer *layer, bool is_apart)
{
	entry_of(set, layer)->is_apart = is_apart;
}

void layer_set_replace(struct layer_set *set, struct layer *layer, struct layer *fresh)
{
	assert(layer->n_users == 1 && fresh->file == layer->file);
	fresh->n_users = 1;
	fresh->is_overlay = layer->is_overlay;
	atomic_store(&set->changes, true);
	entry_of(set, layer)->layer = fresh;
	atomic_store(&set->changes, false);
	layer_close(layer);
}

static void put_off(struct file *file, struct file **files)
{
	file->next_closing = *files;
	*files = file;
}

void layer_set_drop_unclosed(struct layer_set *set, struct layer *layer,
			     void (*file_closing)(void *opaque, struct file *file), void *opaque,
			     struct file **files)
{
	struct file *file = layer->file, *data = layer->data != file ? layer->data : NULL;

	assert(layer->n_users > 0);
	if (--layer->n_users)
		return;
	take_out(set, layer);
	if (file_closing)
		file_closing(opaque, file);
	if (file_closing && data)
		file_closing(opaque, data);
	table_cache_forget(set->cache, file);
	layer_close(layer);
	if (data)
		put_off(data, files);
	put_off(file, files);
}

void layer_set_drop(struct layer_set *set, struct layer *layer,
		    void (*file_closing)(void *opaque, struct file *file), void *opaque)
{
	struct file *files = NULL;

	layer_set_drop_unclosed(set, layer, file_closing, opaque, &files);
	file_close_all(files);
}
