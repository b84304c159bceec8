/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Option and result structs of the public calls, checked and copied by their size. */
#ifndef BLOCKPULL_API_OPTIONS_H
#define BLOCKPULL_API_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/api/open_flags.h"
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
/* The options as chain_open() takes them. Options and policy stay the caller's. The caller adds
 * whether the chain is opened for writing, and which function is told of opened files. */
struct chain_open options_chain(const struct bpull_disk_options *options, const char *image,
				const struct path_policy *policy);
/* Checks an option struct, which begins with its size, and copies what the caller's version of it
 * has. False: its size or its unknown part is wrong. */
bool options_import(void *dst, size_t dst_len, const void *src);
/* The caller's struct, which begins with its size, is at least as long as the first version of the
 * struct was. */
bool result_fits(const void *out, size_t first_len);
/* Copies a result into the caller's struct, which must fit: at most as many bytes as its size says.
 * The size stays. */
void result_export(void *out, const void *src, size_t src_len);

/* The last of enum bpull_format: what lies behind is unknown. */
#define OPTIONS_LAST_FORMAT BPULL_FORMAT_QED

/* first_len of a struct, by the last field that its first version had. */
#define RESULT_FIRST_LEN(type, last) (offsetof(type, last) + sizeof(((type *)NULL)->last))

#endif
