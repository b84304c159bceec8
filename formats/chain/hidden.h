/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Layers of a chain that are open still, and that no mapping leads to. */
#ifndef BLOCKPULL_FORMATS_CHAIN_HIDDEN_H
#define BLOCKPULL_FORMATS_CHAIN_HIDDEN_H

struct chain;
struct file;

/* From now on layer from - 1 reads through to layer `to`, or, n_layers, to none: layers [from, to)
 * are hidden. Requests that were mapped before may still use them. */
void chain_hide(struct chain *chain, unsigned from, unsigned to);
/* Hides none. */
void chain_show_all(struct chain *chain);
/* Drops the hidden layers, which no request in flight may use any more: those below move up. Their
 * files are left for the caller to close: layer_set_drop_unclosed(). */
void chain_drop_hidden(struct chain *chain, void (*file_closing)(void *opaque, struct file *file),
		       void *opaque, struct file **files);

#endif
