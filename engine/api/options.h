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

/* Takes over a program's options for opening images (NULL: all defaults), complete and checked for
 * this way of opening. The names stay the program's. 0, or -EINVAL with a sentence. */
int options_take(enum open_way way, const struct bpull_disk_options *given,
		 struct bpull_disk_options *out, struct bpull_error *error);
/* What the options allow backing files to be, as chain_open() wants it: the image's own directory,
 * symlinks resolved, and what was named. Free with policy_free(). 0 or -errno. */
int policy_build(const struct bpull_disk_options *options, const char *image,
		 struct path_policy *policy, struct err *err);
void policy_free(struct path_policy *policy);
/* What the options say of opening a chain; the policy stays the caller's. Whether it is written to,
 * and who is told of files, is the caller's to add. */
struct chain_open options_chain(const struct bpull_disk_options *options, const char *image,
				const struct path_policy *policy);
/* Checks a size-prefixed option struct and copies what the caller's version has of it.
 * False: it is not one of ours. */
bool options_import(void *dst, size_t dst_len, const void *src);
/* May a result be stored in the caller's struct, which begins with its size? Not below what the
 * first version of the struct had. */
bool result_fits(const void *out, size_t first_len);
/* Stores it, and nothing beyond the size that the struct says, which stays. It fits. */
void result_export(void *out, const void *src, size_t src_len);

/* first_len of a struct, by the last field that its first version had. */
#define RESULT_FIRST_LEN(type, last) (offsetof(type, last) + sizeof(((type *)NULL)->last))

#endif
