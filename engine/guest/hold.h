/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A time in which no request of a disk begins: what lies under them is changed meanwhile, or a job
 * is to come nearer to what they write. */
#ifndef BLOCKPULL_GUEST_HOLD_H
#define BLOCKPULL_GUEST_HOLD_H

#include <stdbool.h>

#include "engine/core/disk.h"
#include "io/base.h"

/* From now on the disk's requests wait before they begin, and those that have begun go on to their
 * end. Not nested. */
void guest_hold(struct bpull_disk *disk);
/* The same of those that change the disk's data or its size: reads, flushes and block status go
 * on. */
void guest_hold_changes(struct bpull_disk *disk);
/* A request that comes now waits. */
static inline bool guest_is_held(const struct bpull_disk *disk, bool changes)
{
	return disk->guests.hold.is_on && (changes || !disk->guests.hold.of_changes);
}
/* Those that had begun are over, and so are the copies that follow reads: nothing of the guest uses
 * the disk's layers. */
bool guest_is_held_quiet(const struct bpull_disk *disk);
/* The requests that waited begin, in the order in which they were submitted, on the layers that the
 * disk has now. */
void guest_release(struct bpull_disk *disk);

#endif
