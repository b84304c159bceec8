/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Finding a layer of the chain by name, and naming the new base. */
#ifndef BLOCKPULL_FORMATS_CHAIN_CHAIN_BASE_H
#define BLOCKPULL_FORMATS_CHAIN_CHAIN_BASE_H

#include "io/base.h"
#include "io/file/opener.h"

struct chain;
struct err;
struct file;
struct file_opener;

/* Which layer is the file of this name: the one with its device and inode, or else the one that was
 * opened, or is recorded, under the very name. -EINVAL with a sentence: none, or the overlay. */
int chain_find_base(const struct chain *chain, struct file_opener *opener, const char *name,
		    unsigned *depth, struct err *err);
/* The name under which the overlay is to find layer `depth`: a copy of the wanted one, which must
 * lead there and be no protocol's; or, NULL, one that is relative where its own recorded name is.
 * *out is malloc'd. */
int chain_name_base(const struct chain *chain, struct file_opener *opener, unsigned depth,
		    const char *wanted, char **out, struct err *err);
/* The overlay's plan_link(): to layer pull_to under this name, or, NULL, to none. Blocking. */
int chain_plan_link(const struct chain *chain, const char *base_name, struct err *err);
/* From now on layer from - 1 reads through to layer `to`, or, n_layers, to none: layers [from, to)
 * are hidden. Requests that were mapped before may still use them. */
void chain_hide(struct chain *chain, unsigned from, unsigned to);
void chain_show_all(struct chain *chain);
/* Drops the hidden layers, which no request in flight may use any more: those below move up. Their
 * files are the caller's to close: layer_set_drop_unclosed(). */
void chain_drop_hidden(struct chain *chain, void (*file_closing)(void *opaque, struct file *file),
		       void *opaque, struct file **files);

#endif
