/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An engine in a child of fork(). The child has a copy of the memory, the
 * descriptors, and none of the other threads. Ring, locks, watches and files
 * are the parent's, and requests in flight write into the parent's memory. So
 * a child runs nothing; closing only closes the descriptors.
 */
#ifndef BLOCKPULL_API_FORK_H
#define BLOCKPULL_API_FORK_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_engine;

/* Notes that this process opened the engine. */
void engine_note_owner(struct bpull_engine *engine);
/* Frees what engine_note_owner() took. */
void engine_forget_owner(struct bpull_engine *engine);
/* This is not the process that opened the engine. */
bool engine_is_forked(const struct bpull_engine *engine);
/* What bpull_engine_close() does in a child of fork(): closes descriptors. The memory stays until
 * the child ends or runs another program. */
void engine_leave_to_parent(struct bpull_engine *engine);

#endif
