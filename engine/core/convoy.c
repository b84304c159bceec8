/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which members a convoy has, how far each may go, and where one that was parted rejoins.
 */
#include "engine/core/convoy.h"

#include <stdlib.h>

#include "engine/core/convoy_place.h"
#include "engine/core/kept.h"
#include "io/base.h"

/* A member that was parted before must come on by itself before it rejoins: by one run the first
 * time, and each time by twice as many, up to 1 << this. */
#define MAX_TRIALS 16u

static bool is_alike(const struct convoy *convoy, uint64_t layer, uint64_t rate)
{
	return convoy->layer == layer && convoy->rate == rate;
}

/* Finds the convoy of that layer and rate, or adds one; NULL: no memory. If all that there are were
 * parted, those that they were parted from have ended: the largest becomes an ordinary convoy. */
static struct convoy *find_or_add_convoy(struct convoys *convoys, uint64_t layer, uint64_t rate)
{
	struct convoy *c, *parted = NULL;

	for (c = convoys->first; c; c = c->next) {
		if (is_alike(c, layer, rate) && !c->is_parted)
			return c;
		if (is_alike(c, layer, rate) && (!parted || c->n > parted->n))
			parted = c;
	}
	if (parted) {
		parted->is_parted = false;
		return parted;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->layer = layer;
	c->rate = rate;
	c->next = convoys->first;
	convoys->first = c;
	return c;
}

/* The number of members has changed, and with it how much may be kept. */
static void set_kept_limit(struct convoys *convoys)
{
	uint64_t n = 0;

	for (const struct convoy *c = convoys->first; c; c = c->next)
		n += c->n;
	convoys->kept.max_len = convoys->max_len + n * convoys->member_len;
}

/* The member jumps from its place to *to, and notes what it passes over as its gap. */
static void note_gap(struct convoy_member *member, const struct convoy_place *to)
{
	struct convoy_place over = { member->gap.to.lap + 1, member->gap.to.guest_off };

	if (!convoy_is_before(&member->place, to))
		return;
	/* The old gap and the new one become one. What lies between them is done already: the walk
	 * passes over it. */
	if (convoy_is_before(&member->gap.from, &member->gap.to) &&
	    convoy_is_before(&member->place, &over)) {
		if (convoy_is_before(&member->place, &member->gap.from))
			member->gap.from = member->place;
	} else {
		member->gap.from = member->place;
	}
	member->gap.to = *to;
}

/* Puts the member at the convoy's place. */
static void enter_convoy(struct convoys *convoys, struct convoy *convoy,
			 struct convoy_member *member)
{
	member->convoy = convoy;
	member->place = convoy->last;
	member->next = convoy->members;
	convoy->members = member;
	convoy->n++;
	set_kept_limit(convoys);
}

void convoy_join(struct convoys *convoys, struct convoy_member *member, uint64_t layer,
		 uint64_t rate, uint64_t disk_len, struct convoy_place *begin)
{
	struct convoy *convoy = find_or_add_convoy(convoys, layer, rate);

	*begin = (struct convoy_place){ 0 };
	if (!convoy)
		return;
	convoy_find_last(convoy);
	/* The convoy is beyond the end of this member's disk, and comes round to it late or
	 * never. */
	if (convoy->n && convoy->last.guest_off >= disk_len)
		return;
	if (convoy->n && member->len) /* it was a member of a convoy before */
		note_gap(member, &convoy->last);
	member->len = disk_len;
	enter_convoy(convoys, convoy, member);
	*begin = member->place;
}

void convoy_leave(struct convoys *convoys, struct convoy_member *member)
{
	struct convoy *convoy = member->convoy, **link = &convoys->first;
	struct convoy_member **from;

	if (!convoy)
		return;
	for (from = &convoy->members; *from != member; from = &(*from)->next)
		;
	*from = member->next;
	member->convoy = NULL;
	member->next = NULL;
	if (!--convoy->n) {
		while (*link != convoy)
			link = &(*link)->next;
		*link = convoy->next;
		free(convoy);
	}
	set_kept_limit(convoys);
}

bool convoy_is_parted(const struct convoy_member *member)
{
	return member->convoy && member->convoy->is_parted;
}

bool convoy_is_shared(const struct convoy_member *member)
{
	return member->convoy && convoy_is_real(member->convoy);
}

bool convoy_is_fed(const struct convoys *convoys, const struct convoy_member *member)
{
	return convoy_is_shared(member) || (member->convoy && convoys->kept.n);
}

bool convoy_lets_go(const struct convoys *convoys, const struct convoy_member *member,
		    const struct convoy_place *at)
{
	return !convoy_is_shared(member) ||
	       convoy_distance(member->convoy, at) < convoy_window_len(convoys);
}

void convoy_note_run(struct convoy_member *member, uint64_t took_ns)
{
	uint64_t mean_ns = member->runs.mean_ns;

	member->runs.mean_ns = mean_ns ? (7 * mean_ns + took_ns) / 8 : took_ns;
	member->runs.last_ns = took_ns;
	member->runs.n++;
}

/* ---- a member that was parted ---- */

/* Without this a device that stalls again and again would hold the others each time. */
static bool has_come_on(const struct convoy_member *member)
{
	return !member->n_parted || member->runs.n >= 1u << MIN(member->n_parted - 1, MAX_TRIALS);
}

/* Neither the member nor the convoy would have to wait for the other. The mean of a member that has
 * stalled stays long for a while, so its last run decides. */
static bool is_as_fast(const struct convoy *convoy, const struct convoy_member *member)
{
	uint64_t others_ns = convoy_run_ns(convoy, false);
	uint64_t slow_ns = MAX(member->runs.last_ns, member->runs.mean_ns);

	return others_ns && member->runs.last_ns <= CONVOY_PATIENCE_RUNS * others_ns &&
	       others_ns <= CONVOY_PATIENCE_RUNS * slow_ns;
}

/* A member goes only to a convoy that was not parted from another, or that has at least as many
 * members as its own (`than`), so that it does not go back and forth. */
static bool is_better(const struct convoy *convoy, const struct convoy *than)
{
	return !convoy->is_parted || convoy->n >= than->n;
}

bool convoy_rejoin(struct convoys *convoys, struct convoy_member *member,
		   uint64_t (*next)(void *opaque, uint64_t guest_off), void *opaque,
		   struct convoy_place *begin)
{
	struct convoy *own = member->convoy, *to = NULL;
	uint64_t window = convoy_window_len(convoys);

	if (!convoy_is_parted(member) || !has_come_on(member))
		return false;
	for (struct convoy *c = convoys->first; c; c = c->next) {
		uint64_t at = next(opaque, c->last.guest_off);
		struct convoy_place place = convoy_place_from(&c->last, at);

		if (c == own || !is_alike(c, own->layer, own->rate) || !is_better(c, own) ||
		    at == UINT64_MAX || !is_as_fast(c, member) ||
		    convoy_distance(c, &place) >= window)
			continue;
		if (!to || (to->is_parted && !c->is_parted))
			to = c;
	}
	if (!to)
		return false;
	convoy_leave(convoys, member);
	note_gap(member, &to->last);
	enter_convoy(convoys, to, member);
	*begin = member->place;
	return true;
}
