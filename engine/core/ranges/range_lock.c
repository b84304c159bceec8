/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Exclusion between operations on the same guest clusters.
 *
 * One list in arrival order: a lock is held unless an earlier entry, held or
 * waiting, overlaps it and does not share. So conflicts are served first come, first served, a
 * stream of guest writes cannot starve the cursor nor the reverse, and since
 * an operation asks for all it needs in one range, nothing can deadlock. An
 * interval tree was rejected: a disk has tens of operations in flight.
 */
#include "engine/core/ranges/range_lock.h"

#include <assert.h>

#include "io/base.h"
#include "io/fifo.h"

static bool overlap(const struct range_lock *a, const struct range_lock *b)
{
	if (a->is_shared && b->is_shared)
		return false;
	return a->guest_off < b->guest_off + b->len && b->guest_off < a->guest_off + a->len;
}

static bool blocked(const struct range_locks *locks, const struct range_lock *lock)
{
	for (const struct range_lock *l = locks->first; l != lock; l = l->next)
		if (overlap(l, lock))
			return true;
	return false;
}

bool range_lock_take(struct range_locks *locks, struct range_lock *lock)
{
	assert(lock->len);
	FIFO_APPEND(locks, lock, next);
	lock->held = !blocked(locks, lock);
	return lock->held;
}

bool range_lock_is_free(const struct range_locks *locks, uint64_t guest_off, uint64_t end)
{
	for (const struct range_lock *l = locks->first; l; l = l->next)
		if (l->guest_off < end && guest_off < l->guest_off + l->len)
			return false;
	return true;
}

bool range_lock_is_wanted(const struct range_lock *lock)
{
	for (const struct range_lock *l = lock->next; l; l = l->next)
		if (overlap(l, lock))
			return true;
	return false;
}

static void grant(struct range_locks *locks, void (*granted)(void *owner))
{
	for (struct range_lock *l = locks->first; l; l = l->next)
		if (!l->held && !blocked(locks, l)) {
			l->held = true;
			granted(l->owner);
		}
}

void range_lock_release(struct range_locks *locks, struct range_lock *lock,
			void (*granted)(void *owner))
{
	FIFO_REMOVE(locks, lock, next);
	lock->held = false;
	grant(locks, granted);
}

void range_lock_shrink(struct range_locks *locks, struct range_lock *lock, uint64_t len,
		       void (*granted)(void *owner))
{
	assert(lock->held && len && len <= lock->len);
	if (len == lock->len)
		return;
	lock->len = len;
	grant(locks, granted);
}
