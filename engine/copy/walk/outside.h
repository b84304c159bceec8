/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A budget that the program shares with others: what a copy run reads is taken from it, too.
 */
#ifndef BLOCKPULL_COPY_OUTSIDE_H
#define BLOCKPULL_COPY_OUTSIDE_H

#include <stdint.h>

#include "io/base.h"

struct copy_run;

/* When the outside budget lets the run go. Call it only for a run that nothing else keeps waiting:
 * it takes what the run lacks. What was taken stays the engine's, whichever run uses it. */
uint64_t outside_ready_ns(struct copy_run *run, uint64_t now_ns);
/* The run uses len bytes; what was not taken for it is taken now. */
void outside_charge(struct copy_run *run, uint64_t now_ns, uint64_t len);

#endif
