/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a program wants images opened. */
#ifndef BLOCKPULL_API_OPTIONS_H
#define BLOCKPULL_API_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/api/options/open_flags.h"
#include "formats/chain/chain.h"
#include "io/base.h"

struct bpull_disk_options;
struct bpull_error;
struct err;
struct path_policy;

/* Copies a program's options for opening images (NULL: all defaults), completed and checked for
 * this way of opening. The names stay the program's. 0, or -EINVAL with a sentence. */
int options_take(enum open_way way, const struct bpull_disk_options *given,
		 struct bpull_disk_options *out, struct bpull_error *error);
/* Builds the policy that chain_open() wants: backing files may lie in the image's own directory,
 * symlinks resolved, and where the options name. Free with policy_free(). 0 or -errno. */
int policy_build(const struct bpull_disk_options *options, const char *image,
		 struct path_policy *policy, struct err *err);
void policy_free(struct path_policy *policy);
/* The options as chain_open() takes them. Options and policy must outlive that call. The caller
 * adds whether the chain is opened for writing, and which function is told of opened files. */
struct chain_open options_chain(const struct bpull_disk_options *options, const char *image,
				const struct path_policy *policy);
/* The program's way to open files; empty if the options have no open_file. The options must outlive
 * it. */
struct file_giver options_giver(const struct bpull_disk_options *options);
/* The last value of enum bpull_format: a higher one is unknown. */
#define OPTIONS_LAST_FORMAT ((enum bpull_format)IMAGE_LAST)

#endif
