/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A chain opened without an engine: to look at it, check it, repair it, measure it. */
#ifndef BLOCKPULL_API_IMAGE_H
#define BLOCKPULL_API_IMAGE_H

#include "engine/core/disk.h"
#include "io/base.h"

struct err;
struct layer_set;
struct table_cache;

/* A chain at rest, without an engine. */
struct look {
	struct table_cache *cache;
	struct layer_set *layers;
	struct chain *chain;
};

/* The options are complete. 0 or -errno with a sentence. */
int look_open(struct look *look, const char *path, const struct bpull_disk_options *options,
	      enum look_at at, struct err *err);
void look_close(struct look *look);

#endif
