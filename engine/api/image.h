/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A chain opened without an engine: to look at it, check it, repair it, measure it. */
#ifndef BLOCKPULL_API_IMAGE_H
#define BLOCKPULL_API_IMAGE_H

#include "engine/core/disk.h"
#include "io/base.h"

struct err;
struct layer_set;
struct table_cache;

enum look_at {
	LOOK_AT_HEADERS, /* what can't be read is opened, too; data files are not */
	LOOK_AT_CHAIN,   /* as for reading */
	LOOK_FOR_REPAIR, /* as for writing */
};

/* A chain at rest, without an engine. */
struct offline_chain {
	struct table_cache *cache;
	struct layer_set *layers;
	struct chain *chain;
};

/* The options are complete. 0 or -errno with a sentence. */
int offline_chain_open(struct offline_chain *look, const char *path,
		       const struct bpull_disk_options *options, enum look_at at, struct err *err);
void offline_chain_close(struct offline_chain *look);

#endif
