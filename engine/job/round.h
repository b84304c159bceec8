/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One round of the engine: every disk's job and guest requests, and when to come again. */
#ifndef BLOCKPULL_JOB_ROUND_H
#define BLOCKPULL_JOB_ROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_engine;

/* Does all that can be done without waiting. */
void engine_run(struct bpull_engine *engine);

/* Called inside. Waits until the engine has run once more; without an engine thread it waits for
 * I/O and runs it itself. At most until end_ns (UINT64_MAX: for ever). False: end_ns has come. Wake
 * the engine first where nothing may be under way. */
bool engine_wait_round(struct bpull_engine *engine, uint64_t end_ns);

/* Rounds until there is nothing more to do at once. */
void engine_run_rounds(struct bpull_engine *engine);

/* The same before events are handed out. Reads that ended where they were submitted need no round,
 * which is a third of the instructions of such a read. */
void engine_run_for_events(struct bpull_engine *engine);

#endif
