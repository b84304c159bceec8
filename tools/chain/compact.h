/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A stretch of a chain becomes one file: what compact_options.c reads, compact.c does. */
#ifndef TOOLS_CHAIN_COMPACT_H
#define TOOLS_CHAIN_COMPACT_H

#include <stdbool.h>

#include "tools/chain/files.h"
#include "tools/chain/others.h"
#include "tools/chain/stretch.h"
#include "tools/pull/image.h"
#include "tools/pull/options.h"
#include "tools/pull/pull.h"

struct compact {
	struct pull_image image; /* the upper file; first, as its hooks are given this */
	const char *path;        /* of the chain's image */
	struct chain_files files;
	struct stretch stretch;
	bool wants_unlink;
	unsigned n_unlinked;
	struct others others; /* where wants_unlink */
	char *own_dir;        /* the image's directory, or NULL; owned */
};

/* Does what the options say to files, stretch. Returns the exit code. */
int compact_images(struct compact *c, struct pull_options *options);
/* The JSON line of a chain in which there is nothing to do. */
void compact_json_nothing(struct compact *c, bool dry_run);
/* Ends one that failed before its job, as chain_failed(). */
int compact_fail(struct compact *c, bool json, int rc);

#endif
