/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Making a guest's writes durable. */
#ifndef BLOCKPULL_GUEST_FLUSH_H
#define BLOCKPULL_GUEST_FLUSH_H

#include "engine/core/op.h"

struct guest;

/* The phase SYNC: waits until all that was written before is durable. */
enum step guest_sync(struct guest *g);

#endif
