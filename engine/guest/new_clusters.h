/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a guest's write that needs new space. */
#ifndef BLOCKPULL_GUEST_NEW_CLUSTERS_H
#define BLOCKPULL_GUEST_NEW_CLUSTERS_H

#include "engine/core/op.h"
#include "io/base.h"

struct guest;

/* The phases of those names. */
enum step guest_place(struct guest *g);
enum step guest_fill(struct guest *g);
enum step guest_store(struct guest *g);
enum step guest_publish(struct guest *g);
/* What was reserved and not published goes back to the file system, on a worker. STEP_NEXT: there
 * is nothing to give back. */
enum step guest_give_up(struct guest *g);
/* Call it after guest_give_up(): gives the space back to the format. */
void guest_release_space(struct guest *g);

#endif
