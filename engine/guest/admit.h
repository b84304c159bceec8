/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How many of the guests' requests are worked at. */
#ifndef BLOCKPULL_GUEST_ADMIT_H
#define BLOCKPULL_GUEST_ADMIT_H

#include "io/base.h"

struct guest;

/* Lets it begin, now or when there is room. */
void guest_admit(struct guest *g);
/* It is over: others may begin. */
void guest_give_room(struct guest *g);

#endif
