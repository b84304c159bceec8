/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Making a guest's writes durable. */
#ifndef BLOCKPULL_GUEST_FLUSH_H
#define BLOCKPULL_GUEST_FLUSH_H

#include <stdbool.h>

#include "engine/core/op.h"

struct guest;

/* The phase SYNC: waits until all that was written before is durable. */
enum step guest_sync(struct guest *g);

/* Waits until all that was published, when it is first called with no sync_target, is durable:
 * *is_durable, and STEP_NEXT. Else STEP_WAIT, or the step of a request in error. waits_for_room: a
 * commit that found no space is waited for; else its error is the request's. */
enum step guest_wait_durable(struct guest *g, bool waits_for_room, bool *is_durable);

#endif
