/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holding a disk's requests back, so that none begins: while the disk's layers are changed, or so
 * that a job can catch up with what the guest writes. */
#ifndef BLOCKPULL_GUEST_HOLD_H
#define BLOCKPULL_GUEST_HOLD_H

#include <stdbool.h>

#include "engine/core/disk.h"
#include "io/base.h"

/* From now on new requests of the disk wait, until guest_release(). Those that have begun go on to
 * their end. Not nested. */
void guest_hold(struct bpull_disk *disk);
/* The same for requests that change the disk's data or its size only: reads, flushes and block
 * status go on. */
void guest_hold_changes(struct bpull_disk *disk);
/* A request that comes now must wait. changes: it changes data or size. */
static inline bool guest_is_held(const struct bpull_disk *disk, bool changes)
{
	return disk->guests.hold.is_on && (changes || !disk->guests.hold.of_changes);
}
/* The disk is held, and the requests that had begun are over, as are the copies that follow reads:
 * no request uses the disk's layers. */
bool guest_is_held_quiet(const struct bpull_disk *disk);
/* The requests that waited begin, in the order in which they were submitted, on the layers that the
 * disk has now. */
void guest_release(struct bpull_disk *disk);

#endif
