/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Locks on ranges of the guest's disk. */
#ifndef BLOCKPULL_CORE_RANGE_LOCK_H
#define BLOCKPULL_CORE_RANGE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

/* A lock on a range of the guest's disk, exclusive or shared, that one operation holds or waits
 * for. */
struct range_lock {
	uint64_t guest_off, len; /* bytes; the callers lock whole clusters of the overlay */
	bool is_shared;
	bool held;
	void *owner;
	struct range_lock *next;
};

/* All locks of one disk, held and waiting, in arrival order. Zero-initialise. */
struct range_locks {
	struct range_lock *first, *last;
};

/* Queues the lock. True: it is held now. False: the release of an earlier lock will grant it. The
 * struct must stay where it is until it is released. */
bool range_lock_take(struct range_locks *locks, struct range_lock *lock);
/* No lock, held or waiting, is on any of [guest_off, end). */
bool range_lock_is_free(const struct range_locks *locks, uint64_t guest_off, uint64_t end);
/* Gives up a held or waiting lock, and calls granted(owner) for each lock that this lets through,
 * in arrival order. */
void range_lock_release(struct range_locks *locks, struct range_lock *lock,
			void (*granted)(void *owner));
/* Another lock waits for a part of this one, which is held. */
bool range_lock_is_wanted(const struct range_lock *lock);
/* Shortens a held lock to its first len bytes, and grants others as range_lock_release() does. */
void range_lock_shrink(struct range_locks *locks, struct range_lock *lock, uint64_t len,
		       void (*granted)(void *owner));

#endif
