/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Starting and stopping an engine's own thread. */
#ifndef BLOCKPULL_API_THREAD_H
#define BLOCKPULL_API_THREAD_H

#include "io/base.h"

struct bpull_engine;

/* 0 or -errno. */
int engine_thread_start(struct bpull_engine *engine);
/* Ends the engine's thread, if it has one. After that the caller alone uses the engine. */
void engine_thread_stop(struct bpull_engine *engine);

#endif
