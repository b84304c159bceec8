/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A chain opened without an engine: for info, check, repair and measure. */
#ifndef BLOCKPULL_API_OFFLINE_CHAIN_H
#define BLOCKPULL_API_OFFLINE_CHAIN_H

#include "io/base.h"

struct bpull_disk_options;
struct chain;
struct err;
struct layer_set;
struct table_cache;

enum look_at {
	LOOK_AT_HEADERS, /* opens also images that can't be read; leaves data files closed */
	LOOK_AT_CHAIN,   /* opens the chain as for reading it */
	LOOK_FOR_REPAIR, /* opens the image for writing */
};

/* A chain at rest, without an engine. */
struct offline_chain {
	struct table_cache *cache;
	struct layer_set *layers;
	struct chain *chain;
};

/* The options must be complete (options_take()). 0 or -errno with a sentence. */
int offline_chain_open(struct offline_chain *look, const char *path,
		       const struct bpull_disk_options *options, enum look_at at, struct err *err);
void offline_chain_close(struct offline_chain *look);

#endif
