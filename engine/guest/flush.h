/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Making a guest's writes durable. */
#ifndef BLOCKPULL_GUEST_FLUSH_H
#define BLOCKPULL_GUEST_FLUSH_H

#include <stdbool.h>

#include "engine/core/op.h"

struct guest;

/* The phase SYNC: waits until all that was written before is durable. */
enum step guest_sync(struct guest *g);

/* Waits until all is durable that was published by the first call with sync_target 0. *is_durable:
 * it is; then STEP_NEXT. Else STEP_WAIT, or STEP_NEXT with the request in error. waits_for_room:
 * waits also for a commit that found no space; else the request gets its error. */
enum step guest_wait_durable(struct guest *g, bool waits_for_room, bool *is_durable);

#endif
