/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The guest's bytes where it has space for them. */
#ifndef BLOCKPULL_GUEST_IN_PLACE_H
#define BLOCKPULL_GUEST_IN_PLACE_H

#include "engine/core/op.h"

struct guest;
struct write_extent;

/* Writes the request's bytes to n extents, which follow each other from g->at on, and moves g->at
 * behind them. The phase runs again when all are written. */
enum step guest_write_in_place(struct guest *g, const struct write_extent *list, unsigned n);
/* Call it when the phase runs again: notes what was written (I1), and frees the requests. */
void guest_wrote_in_place(struct guest *g);

#endif
