/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What of the kept ranges convoys need. */
#ifndef BLOCKPULL_CORE_CONVOY_KEPT_H
#define BLOCKPULL_CORE_CONVOY_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/convoy.h"
#include "io/base.h"

/* Once a round, when all members are up to date: drops what no member needs any more. */
void convoy_sweep(struct convoys *convoys);
/* len bytes are to be kept, for which there is no room: drops what is only kept as long as there is
 * some, the newest first. False: there is no room still. */
bool convoy_make_room(struct convoys *convoys, uint64_t len);
/* There are no convoys any more: forgets what is kept. */
void convoys_close(struct convoys *convoys);

#endif
