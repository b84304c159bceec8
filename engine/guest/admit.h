/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How many guest requests run at once. */
#ifndef BLOCKPULL_GUEST_ADMIT_H
#define BLOCKPULL_GUEST_ADMIT_H

#include "io/base.h"

struct guest;

/* Starts the request now, or queues it until the engine's memory for guests has room. */
void guest_admit(struct guest *g);
/* Gives the request's memory back and starts queued requests that fit now. */
void guest_give_room(struct guest *g);

#endif
