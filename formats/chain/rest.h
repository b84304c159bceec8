/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A chain whose files are open and not locked: other programs may change them. */
#ifndef BLOCKPULL_FORMATS_CHAIN_REST_H
#define BLOCKPULL_FORMATS_CHAIN_REST_H

#include "io/base.h"

struct chain;
struct err;
struct file;
struct layer;

/* Gives the locks of all files back, and forgets their tables, but of files that other chains of
 * the set hold, which stay locked and as they are. Nothing of them is dirty or in flight, and the
 * chain is used no more before chain_wake(). */
void chain_rest(struct chain *chain);
/* Takes the locks again and reads the headers as they are now. A lock that another program has is
 * asked for again for lock_wait_ms, which the thread sleeps through. Where the overlay's link is
 * gone, or leads to a lower layer of the chain, the layers between are let go, with file_closing
 * as chain_close() has it. 0, or -errno with a sentence, and the chain rests: -EBUSY another
 * program has a file; -ESTALE the chain is another than it was; as format_open() and
 * layer_refuse(). */
int chain_wake(struct chain *chain, unsigned lock_wait_ms,
	       void (*file_closing)(void *opaque, struct file *file), void *opaque,
	       struct err *err);
/* Opens a layer that this chain alone holds once more, as its file is now; nothing of it is dirty
 * or in flight. *out takes its place by layer_set_replace(), or goes by layer_close(). 0, or -errno
 * with a sentence: as chain_wake(). Blocks. */
int chain_read_again(struct chain *chain, struct layer *layer, struct layer **out, struct err *err);

#endif
