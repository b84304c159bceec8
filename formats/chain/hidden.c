/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Layers that were pulled, or committed into, go in two steps: new mappings pass them by at once,
 * and they are dropped when the requests that were mapped before have ended.
 */
#include "formats/chain/hidden.h"

#include "formats/chain/chain.h"
#include "formats/chain/layer_set.h"

void chain_hide(struct chain *chain, unsigned from, unsigned to)
{
	chain->hidden_from = from;
	chain->hidden_to = to;
}

void chain_show_all(struct chain *chain)
{
	chain_hide(chain, 0, 0);
}

void chain_drop_hidden(struct chain *chain, void (*file_closing)(void *opaque, struct file *file),
		       void *opaque, struct file **files)
{
	unsigned from = chain->hidden_from, to = chain->hidden_to;

	for (unsigned i = from; i < to; i++)
		layer_set_drop_unclosed(chain->set, chain->layers[i], file_closing, opaque, files);
	for (unsigned i = to; i < chain->n_layers; i++) {
		chain->layers[from + i - to] = chain->layers[i];
		chain->is_resolved[from + i - to] = chain->is_resolved[i];
		chain->format_from[from + i - to] = chain->format_from[i];
	}
	chain->n_layers -= to - from;
	chain->pull_to = chain->n_layers;
	chain_show_all(chain);
}
