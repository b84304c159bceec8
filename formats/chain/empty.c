/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Only the first table's entries are cleared. Each is 8 bytes inside a sector, and without it the
 * guest reads the same bytes from below: so the writes need no order, and no second table is made.
 * What the entries led to is leaked then, and the repair of leaks takes it out.
 */
#include "formats/chain/empty.h"

#include <errno.h>
#include <stdlib.h>

#include "formats/chain/open.h"
#include "formats/core/layer_check.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define CACHE_LEN (1 * MiB)
#define PIECE_LEN (64 * KiB)

static int clear_root(struct layer *layer)
{
	autofree uint8_t *zeros = calloc(1, PIECE_LEN);
	uint64_t off, len;
	int rc = zeros ? 0 : -ENOMEM;

	layer_root(layer, &off, &len);
	for (uint64_t at = 0; !rc && at < len; at += PIECE_LEN)
		rc = file_write(layer->file, zeros, MIN(len - at, (uint64_t)PIECE_LEN), off + at);
	return rc ? rc : file_sync(layer->file);
}

static int clear(struct layer *layer, struct err *err)
{
	struct shown shown;
	int rc = clear_root(layer);

	return rc ? err_errno(err, rc, "%s: cannot be emptied", file_show(layer->file, &shown)) : 0;
}

static int take_leaks_out(struct layer *layer, struct err *err)
{
	struct repair repair = { 0 };

	return layer_repair(layer, &repair, err);
}

static int with_layer(struct file *file, enum image_format format,
		      int (*work)(struct layer *layer, struct err *err), struct err *err)
{
	struct table_cache *cache = table_cache_new(CACHE_LEN);
	struct layer *layer;
	int rc;

	if (!cache)
		return err_set(err, -ENOMEM, "out of memory");
	rc = format_open(format, file, cache, &layer, err);
	if (!rc) {
		rc = work(layer, err);
		table_cache_forget(cache, file);
		layer_close(layer);
	}
	table_cache_free(cache);
	return rc;
}

int empty_image(struct file *file, enum image_format format, struct err *err)
{
	return with_layer(file, format, clear, err);
}

int empty_give_back(struct file *file, enum image_format format, struct err *err)
{
	return with_layer(file, format, take_leaks_out, err);
}
