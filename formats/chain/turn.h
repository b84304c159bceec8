/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Layers of an open chain that change sides, and a chain's lower end as a chain of its own: what
 * snapshots, commits and compactions are made of.
 */
#ifndef BLOCKPULL_FORMATS_CHAIN_TURN_H
#define BLOCKPULL_FORMATS_CHAIN_TURN_H

#include <stdbool.h>

struct chain;
struct err;

/* What chain_turn_writable() would say, as far as it can be known without trying; changes
 * nothing. */
int chain_check_writable(const struct chain *chain, unsigned i, unsigned n_own, struct err *err);
/* Layer i may be written to from now on: its files have an overlay's locks, and changes of them are
 * looked for no more (file_look()). n_own: how many chains of the caller hold it; a chain of
 * another disk refuses. begin_writing is the caller's to call. Readers of the layer may go on.
 * -EBUSY: another program, or another disk of this engine, has it; -ESTALE: it was changed since it
 * was opened; -EACCES, -EROFS, -ENOTSUP; each with a sentence, and all is as it was. Blocks. */
int chain_turn_writable(struct chain *chain, unsigned i, unsigned n_own, struct err *err);
/* Layer i is only read from now on, as a backing file is: all that was written to it is durable.
 * is_overlay is the caller's to clear. Blocks. -errno with a sentence: its locks are as before, or
 * it can't be told any more if another program changes it. */
int chain_turn_read_only(struct chain *chain, unsigned i, struct err *err);
/* The same in two steps. The first blocks, on any thread, while guests read through the layer; the
 * second changes what they see of it, under the engine's lock, also where the first step failed for
 * one of its files. */
int chain_turn_read_only_begin(const struct chain *chain, unsigned i, struct err *err);
void chain_turn_read_only_end(const struct chain *chain, unsigned i);

/* The layers from `from` on as a chain that holds them, too. NULL: no memory. */
struct chain *chain_share_below(const struct chain *chain, unsigned from);

#endif
