/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a chain holds above one of its files goes into that file: what commit_options.c reads,
 * commit.c does. */
#ifndef TOOLS_CHAIN_COMMIT_H
#define TOOLS_CHAIN_COMMIT_H

#include <stdbool.h>

#include "tools/chain/files.h"
#include "tools/chain/others.h"
#include "tools/pull/image.h"
#include "tools/pull/options.h"
#include "tools/pull/pull.h"

struct commit {
	struct pull_image image; /* first, as its hooks are given this */
	struct chain_files files;
	unsigned base;       /* which of them is written; the image is 0 */
	bool base_is_mine;   /* the user insists: no other image is looked for */
	bool keeps;          /* the image stays as it is */
	uint64_t plan_bytes; /* a dry run: what would be written, at most */
	struct others others;
};

/* Does what the options say to files and base. Returns the exit code. */
int commit_images(struct commit *c, struct pull_options *options);
/* Ends one that failed before its job, as chain_failed(). */
int commit_fail(struct commit *c, bool json, int rc);

#endif
