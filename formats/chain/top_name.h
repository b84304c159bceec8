/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How an image that is to be put on top of an open chain names the chain's top. */
#ifndef BLOCKPULL_FORMATS_CHAIN_TOP_NAME_H
#define BLOCKPULL_FORMATS_CHAIN_TOP_NAME_H

#include "io/base.h"
#include "io/file/opener.h"

struct err;
struct layer;

/* The name of `top` to be recorded in a new image at `path`, which is to lie on it: a copy of the
 * wanted one, or, NULL, one that is chosen: the file's own where it lies in the same directory,
 * else its absolute path, links resolved. It is a plain file's and leads there. *out is malloc'd.
 * Blocks. -EINVAL: the wanted one does not; -ESTALE: the top's file has another name by now;
 * -ENOTSUP: the program opened it, so no name leads to it. Each with a sentence. */
int chain_name_top(const struct layer *top, struct file_opener *opener, const char *path,
		   const char *wanted, char **out, struct err *err);
/* The image `layer`, opened as `path`, records `top` as its backing file, in its format.
 * giver: what the program says where that name leads, if it has opened the top; else empty. 0, or
 * -EINVAL with a sentence; -ENOTSUP: the program has opened the top, and doesn't say. Blocks. */
int chain_check_leads_to_top(const struct layer *top, struct file_opener *opener,
			     struct file_giver giver, const char *path, const struct layer *layer,
			     struct err *err);

#endif
