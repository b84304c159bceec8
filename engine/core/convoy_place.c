/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/core/convoy_place.h"

#include "engine/core/convoy.h"
#include "engine/core/kept.h"
#include "io/base.h"

/* Guest bytes. */
#define MIN_WINDOW (64 * KiB)

/* Half of what may be kept, shared by all real convoys. The other half is for ranges that were read
 * by members that have left since, and for gaps. */
uint64_t convoy_window_len(const struct convoys *convoys)
{
	uint64_t n = 0;

	for (const struct convoy *c = convoys->first; c; c = c->next)
		n += convoy_is_real(c);
	n = n ? n : 1;
	return MAX(convoys->kept.max_len / 2 / n, MIN_WINDOW);
}

uint64_t convoy_round_len(const struct convoy *convoy)
{
	uint64_t len = 0;

	for (const struct convoy_member *m = convoy->members; m; m = m->next)
		len = MAX(len, m->len);
	return len;
}

struct convoy_place convoy_place_from(const struct convoy_place *from, uint64_t guest_off)
{
	return (struct convoy_place){ from->lap + (guest_off < from->guest_off), guest_off };
}

uint64_t convoy_distance(const struct convoy *convoy, const struct convoy_place *at)
{
	const struct convoy_place *last = &convoy->last;

	if (convoy_is_before(at, last))
		return 0;
	if (at->lap == last->lap)
		return at->guest_off - last->guest_off;
	if (at->lap > last->lap + 1)
		return UINT64_MAX;
	return MAX(convoy_round_len(convoy), last->guest_off) - last->guest_off + at->guest_off;
}

void convoy_find_last(struct convoy *convoy)
{
	const struct convoy_member *last = convoy->members;

	for (const struct convoy_member *m = last; m; m = m->next)
		if (convoy_is_before(&m->place, &last->place))
			last = m;
	if (last)
		convoy->last = last->place;
}

bool convoy_is_last(const struct convoy *convoy, const struct convoy_member *member)
{
	return member->place.lap == convoy->last.lap &&
	       member->place.guest_off / MiB == convoy->last.guest_off / MiB;
}

uint64_t convoy_run_ns(const struct convoy *convoy, bool but_last)
{
	uint64_t sum_ns = 0, n = 0;

	for (const struct convoy_member *m = convoy->members; m; m = m->next) {
		if (!m->runs.mean_ns || (but_last && convoy_is_last(convoy, m)))
			continue;
		sum_ns += m->runs.mean_ns;
		n++;
	}
	return n ? sum_ns / n : 0;
}
