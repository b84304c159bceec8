/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which kept ranges convoys still need. */
#ifndef BLOCKPULL_CORE_CONVOY_KEPT_H
#define BLOCKPULL_CORE_CONVOY_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/convoy.h"
#include "io/base.h"

/* Once a round, when all members are up to date: drops ranges that no member needs any more. */
void convoy_sweep(struct convoys *convoys);
/* Makes room for len more bytes: drops ranges that are only kept while there is room, the newest
 * first. False: there is still no room. */
bool convoy_make_room(struct convoys *convoys, uint64_t len);
/* Forgets all that is kept. No convoy may be left. */
void convoys_close(struct convoys *convoys);

#endif
