/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How verbs of chains end where they fail before their job. */
#ifndef TOOLS_CHAIN_FAILED_H
#define TOOLS_CHAIN_FAILED_H

#include <stdbool.h>

struct bpull_error;
struct chain_files;
struct pull_image;

/* Says image->error, whose code is rc from here on, and with json prints the image's line, which
 * has the kind that the caller gave it. Returns the exit code. */
int chain_failed(struct pull_image *image, const struct chain_files *files, bool json, int rc);
/* The chain of `image` has no file of this name. -EINVAL with a sentence. */
int chain_has_none(const char *name, const char *image, struct bpull_error *error);

#endif
