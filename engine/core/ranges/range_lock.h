/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Locks on ranges of the guest's disk. */
#ifndef BLOCKPULL_CORE_RANGE_LOCK_H
#define BLOCKPULL_CORE_RANGE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

/* A range of the guest's disk that one operation has, or waits for: alone, or with others that
 * share. */
struct range_lock {
	uint64_t guest_off, len; /* bytes, whole overlay clusters */
	bool is_shared;
	bool held;
	void *owner;
	struct range_lock *next;
};

/* All of one disk's, held and waiting, in arrival order. Zero-initialise. */
struct range_locks {
	struct range_lock *first, *last;
};

/* Queues the lock; true: it is held now. False: range_lock_release() of an earlier one will grant
 * it. The struct stays put until it is released. */
bool range_lock_take(struct range_locks *locks, struct range_lock *lock);
/* No lock, held or waiting, is on any of [guest_off, end). */
bool range_lock_is_free(const struct range_locks *locks, uint64_t guest_off, uint64_t end);
/* Gives up a held or waiting lock and calls granted(owner) for each one that is held now instead,
 * in arrival order. */
void range_lock_release(struct range_locks *locks, struct range_lock *lock,
			void (*granted)(void *owner));
/* Another lock waits for a part of this held one. */
bool range_lock_is_wanted(const struct range_lock *lock);
/* Shortens a held lock from behind, as the holder found it needs less. */
void range_lock_shrink(struct range_locks *locks, struct range_lock *lock, uint64_t len,
		       void (*granted)(void *owner));

#endif
