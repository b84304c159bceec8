/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An engine in a child of fork(). The child has the memory as it was in that
 * moment, the descriptors, and none of the threads; ring, locks, watches and
 * files are the parent's, and the requests in flight write into the parent's
 * memory. So a child runs nothing; to close is to close its descriptors.
 */
#ifndef BLOCKPULL_API_FORK_H
#define BLOCKPULL_API_FORK_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_engine;

/* This process opens it. */
void engine_note_owner(struct bpull_engine *engine);
/* Frees what engine_note_owner() took. */
void engine_forget_owner(struct bpull_engine *engine);
/* Is this another process than the one that opened the engine? */
bool engine_is_forked(const struct bpull_engine *engine);
/* What bpull_engine_close() is to such a process. The memory stays until it ends or becomes another
 * program. */
void engine_leave_to_parent(struct bpull_engine *engine);

#endif
