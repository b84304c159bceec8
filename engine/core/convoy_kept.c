/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which kept ranges convoys still need. What members are still to pass stays. What lies in a
 * member's gap, or before members that were parted, stays only while there is room: if it is
 * dropped it is read once more.
 */
#include "engine/core/convoy_kept.h"

#include <assert.h>

#include "engine/core/convoy.h"
#include "engine/core/convoy_place.h"
#include "engine/core/kept.h"
#include "io/base.h"

/* The convoy's last member is to pass the range within so many guest bytes. */
static bool is_ahead_of(const struct convoy *convoy, const struct kept *kept, uint64_t within)
{
	struct convoy_place end = { convoy->last.lap, kept->guest_off + kept->len };

	if (end.guest_off <= convoy->last.guest_off)
		end.lap++;
	return convoy_distance(convoy, &end) <= within;
}

/* A kept range has no lap, so distance tells whether the convoy has passed it: no member reads
 * further ahead than a window and the length of a run. */
static uint64_t soon_len(const struct convoys *convoys)
{
	return 2 * convoy_window_len(convoys);
}

/* Guest bytes from members that were parted to those that go on without them, and soon_len()
 * more. */
static uint64_t gap_len(const struct convoys *convoys, const struct convoy *parted)
{
	const struct convoy *c = convoys->first;
	uint64_t len, soon = soon_len(convoys);

	while (c && (c->is_parted || c->layer != parted->layer || c->rate != parted->rate))
		c = c->next;
	len = c ? convoy_distance(parted, &c->last) : 0;
	return len > UINT64_MAX - soon ? UINT64_MAX : len + soon;
}

static bool is_parted_alone(const struct convoy *convoy)
{
	return convoy->is_parted && !convoy_is_real(convoy);
}

static bool is_needed(const struct convoys *convoys, const struct kept *kept)
{
	uint64_t soon = soon_len(convoys);

	for (const struct convoy *c = convoys->first; c; c = c->next)
		if (!is_parted_alone(c) && is_ahead_of(c, kept, soon))
			return true;
	return false;
}

/* The member has passed over the range, and has not come round to it yet. */
static bool is_in_gap(const struct convoy_member *member, const struct kept *kept)
{
	struct convoy_place at = convoy_place_from(&member->gap.from, kept->guest_off);
	struct convoy_place again = { at.lap + 1, kept->guest_off + kept->len };

	return convoy_is_before(&at, &member->gap.to) && convoy_is_before(&member->place, &again);
}

static bool is_wanted(const struct convoys *convoys, const struct kept *kept)
{
	for (const struct convoy *c = convoys->first; c; c = c->next)
		if (c->is_parted && is_ahead_of(c, kept, gap_len(convoys, c)))
			return true;
	for (const struct convoy *c = convoys->first; c; c = c->next) {
		for (const struct convoy_member *m = c->members; m; m = m->next)
			if (is_in_gap(m, kept))
				return true;
	}
	return false;
}

static bool may_stay(void *opaque, const struct kept *kept)
{
	return is_needed(opaque, kept) || is_wanted(opaque, kept);
}

static bool is_spare(void *opaque, const struct kept *kept)
{
	return !kept->n_holds && !is_needed(opaque, kept);
}

bool convoy_make_room(struct convoys *convoys, uint64_t len)
{
	while (!kept_has_room(&convoys->kept, len)) {
		struct kept *spare = kept_newest(&convoys->kept, is_spare, convoys);

		if (!spare)
			return false;
		kept_drop(&convoys->kept, spare);
	}
	return true;
}

void convoy_sweep(struct convoys *convoys)
{
	kept_sweep(&convoys->kept, may_stay, convoys);
}

void convoys_close(struct convoys *convoys)
{
	assert(!convoys->first);
	convoy_sweep(convoys);
	assert(!convoys->kept.n);
}
