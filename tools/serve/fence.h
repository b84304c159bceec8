/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Directories in which clients of the control socket may have images made and written to. */
#ifndef TOOLS_SERVE_FENCE_H
#define TOOLS_SERVE_FENCE_H

#include "engine/blockpull.h"

#define FENCE_MAX_DIRS 64

struct serve_options;

struct fence {
	char *dirs[FENCE_MAX_DIRS]; /* absolute, links resolved */
	unsigned n;
};

/* One more. 0 or -errno. */
int fence_add(struct fence *fence, const char *dir);
/* The file lies below one of them. 0, or -EPERM with a sentence. */
int fence_check(const struct fence *fence, const char *path, struct bpull_error *error);
/* Before any thread is started: from here on the process opens no file but those of the image's
 * chain and of these directories. Nothing where there are none. 0, or -errno with a sentence. */
int fence_close(const struct serve_options *options, struct bpull_error *error);
void fence_free(struct fence *fence);

#endif
