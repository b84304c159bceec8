/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Finding a layer of the chain by name, and naming the new base. */
#ifndef BLOCKPULL_FORMATS_CHAIN_CHAIN_BASE_H
#define BLOCKPULL_FORMATS_CHAIN_CHAIN_BASE_H

#include "io/base.h"
#include "io/file/opener.h"

struct chain;
struct err;
struct file_opener;

/* Which layer is the file of this name: the one with its device and inode, or else the one that was
 * opened, or is recorded, under the very name. -EINVAL with a sentence: none, or the overlay. */
int chain_find_base(const struct chain *chain, struct file_opener *opener, const char *name,
		    unsigned *depth, struct err *err);
/* The name under which the overlay is to find layer `depth`: a copy of `wanted`, which must lead
 * there and be no protocol's; or, where that is NULL, a new one: relative if the name that the
 * overlay records today is. *out is malloc'd. */
int chain_name_base(const struct chain *chain, struct file_opener *opener, unsigned depth,
		    const char *wanted, char **out, struct err *err);
/* The overlay's plan_link(): to layer pull_to under this name, or, NULL, to none. Blocking. */
int chain_plan_link(const struct chain *chain, const char *base_name, struct err *err);

#endif
