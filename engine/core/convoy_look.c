/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Once a round: which member is too slow for its convoy.
 *
 * Slow is a member that keeps the others waiting while there is room for them to work: so neither
 * a slow source, which all wait for, nor a busy device, where buffers are the limit, breaks a
 * convoy up. The measure is what a run of the others takes on average. The fastest member's runs
 * were rejected as a measure: among two hundred members on a busy device some member has always
 * just had a few fast ones.
 */
#include "engine/core/convoy.h"

#include <stdlib.h>

#include "engine/core/convoy_kept.h"
#include "engine/core/convoy_place.h"
#include "engine/core/kept.h"
#include "io/base.h"

/* A convoy waits for its last member to advance by a MiB for the time that the others need for
 * CONVOY_PATIENCE_RUNS runs, but at least for PATIENCE_NS. */
#define PATIENCE_NS UINT64_C(500000000)

/* If no run of the last members has taken longer than that so far, it waits at least for STALL_NS:
 * their device stalls, and reading all once more would cost more than a short wait. */
#define STALL_NS UINT64_C(3000000000)

/* No member is waited for any longer, even if its source or its disk hangs. */
#define STUCK_NS UINT64_C(10000000000)

/* The time between two looks. A longer time does not count as a wait: another program had the
 * processor, or a call took that long. */
#define LOOK_NS UINT64_C(50000000)

static uint64_t patience_ns(const struct convoy *convoy)
{
	uint64_t runs_ns = CONVOY_PATIENCE_RUNS * convoy_run_ns(convoy, true), slowest_ns = 0;

	if (!runs_ns)
		return UINT64_MAX;
	for (const struct convoy_member *m = convoy->members; m; m = m->next)
		if (convoy_is_last(convoy, m))
			slowest_ns = MAX(slowest_ns, m->runs.mean_ns);
	return MAX(runs_ns, slowest_ns > runs_ns ? PATIENCE_NS : STALL_NS);
}

static bool has_held(const struct convoy *convoy)
{
	for (const struct convoy_member *m = convoy->members; m; m = m->next)
		if (m->is_held && !convoy_is_last(convoy, m))
			return true;
	return false;
}

/* Members wait for the last ones, none of these waits for a shared read, and one of them waits for
 * no buffer either: it is slow by itself. */
static bool waits(const struct convoy *convoy)
{
	bool is_slow = false;

	for (const struct convoy_member *m = convoy->members; m; m = m->next) {
		if (!convoy_is_last(convoy, m))
			continue;
		if (m->awaits_source)
			return false;
		is_slow |= !m->is_ready;
	}
	return is_slow && has_held(convoy);
}

/* Notes whether the convoy's last member advances. True: it has not for STUCK_NS, and others wait
 * for it. *at_ns: when to look again. */
static bool note_stuck(struct convoy *convoy, bool came_on, uint64_t now_ns, uint64_t *at_ns)
{
	bool others_wait = has_held(convoy);

	if (came_on || !others_wait || !convoy->wait.stuck_ns)
		convoy->wait.stuck_ns = now_ns;
	if (others_wait)
		*at_ns = convoy->wait.stuck_ns + STUCK_NS;
	return now_ns - convoy->wait.stuck_ns >= STUCK_NS;
}

/* ---- parting ---- */

/* A convoy for members that are parted from `from`. NULL: no memory. */
static struct convoy *new_parted(struct convoy *from)
{
	struct convoy *parted = calloc(1, sizeof(*parted));

	if (!parted)
		return NULL;
	*parted = (struct convoy){ .layer = from->layer,
				   .rate = from->rate,
				   .is_parted = true,
				   .last = from->last,
				   .next = from->next };
	from->next = parted;
	return parted;
}

static void move_to(struct convoy *to, struct convoy_member **link)
{
	struct convoy_member *m = *link;

	*link = m->next;
	m->convoy->n--;
	m->next = to->members;
	m->convoy = to;
	m->runs.n = 0;
	to->members = m;
	to->n++;
}

/* The member has begun its next lap, and waits for others that are too far behind to feed it. */
static bool is_far_ahead(const struct convoys *convoys, const struct convoy *convoy,
			 const struct convoy_member *member)
{
	return member->is_held && member->place.lap > convoy->last.lap &&
	       convoy_distance(convoy, &member->place) > 2 * convoy_window_len(convoys);
}

/* Parts each member that is far ahead: it goes by itself, and rejoins others that are where it is.
 * While the last member is within a window of the disk's end none is parted: it is about to come
 * round to where they are. */
static void part_from_those_ahead(struct convoys *convoys, struct convoy *convoy)
{
	struct convoy_member **link = &convoy->members;
	uint64_t end = convoy_round_len(convoy);

	if (end - MIN(end, convoy->last.guest_off) <= convoy_window_len(convoys))
		return;
	while (*link && convoy_is_real(convoy)) {
		struct convoy *ahead;

		if (!is_far_ahead(convoys, convoy, *link) || !(ahead = new_parted(convoy))) {
			link = &(*link)->next;
			continue;
		}
		move_to(ahead, link);
		convoy_find_last(ahead);
	}
}

/* Parts the last members from the others: they are a convoy of their own from now on, or one goes
 * alone. Without memory they stay. The rest is never empty, since a member that is not among the
 * last was held. A last member that only wants a buffer stays, too, unless the convoy hangs
 * (is_hung). */
static void part_from_last(struct convoy *convoy, bool is_hung)
{
	struct convoy *slow = new_parted(convoy);
	struct convoy_member **link = &convoy->members;

	if (!slow)
		return;
	while (*link) {
		if (!convoy_is_last(convoy, *link) || ((*link)->is_ready && !is_hung)) {
			link = &(*link)->next;
			continue;
		}
		(*link)->n_parted++;
		move_to(slow, link);
	}
	convoy_find_last(convoy);
	convoy_find_last(slow);
}

/* ---- the look ---- */

static uint64_t look_at_convoy(struct convoys *convoys, struct convoy *convoy, uint64_t now_ns,
			       bool has_room)
{
	uint64_t patience, step, at_ns = UINT64_MAX;
	bool is_hung;

	convoy_find_last(convoy);
	part_from_those_ahead(convoys, convoy);
	step = convoy->last.lap << 44 | convoy->last.guest_off / MiB;
	if (step != convoy->wait.step)
		convoy->wait.len_ns = convoy->wait.since_ns = 0;
	is_hung = note_stuck(convoy, step != convoy->wait.step, now_ns, &at_ns);
	convoy->wait.step = step;
	if (convoy->wait.since_ns)
		convoy->wait.len_ns += MIN(now_ns - convoy->wait.since_ns, LOOK_NS);
	convoy->wait.since_ns = 0;
	patience = patience_ns(convoy);
	if (!convoy_is_real(convoy))
		return UINT64_MAX;
	if (!is_hung && (!has_room || patience == UINT64_MAX || !waits(convoy)))
		return at_ns;
	convoy->wait.since_ns = now_ns;
	if (!is_hung && convoy->wait.len_ns < patience) {
		patience = MIN(patience - convoy->wait.len_ns, LOOK_NS);
		return MIN(at_ns, now_ns + patience);
	}
	convoy->wait.len_ns = convoy->wait.since_ns = 0;
	convoy->wait.stuck_ns = now_ns;
	part_from_last(convoy, is_hung);
	return now_ns;
}

/* A read for all that takes STUCK_NS, and longer than any member's runs do, hangs, or waits for
 * something of its own member's: the others read for themselves. Returns when to look again. */
static uint64_t lose_late(struct convoys *convoys, uint64_t now_ns)
{
	uint64_t late_ns = STUCK_NS, first_ns;

	for (const struct convoy *c = convoys->first; c; c = c->next)
		for (const struct convoy_member *m = c->members; m; m = m->next)
			late_ns = MAX(late_ns, CONVOY_PATIENCE_RUNS * m->runs.mean_ns);
	first_ns = kept_lose_late(&convoys->kept, now_ns > late_ns ? now_ns - late_ns : 0);
	return first_ns == UINT64_MAX ? first_ns : first_ns + late_ns;
}

uint64_t convoy_look(struct convoys *convoys, uint64_t now_ns, bool has_room)
{
	uint64_t at_ns = UINT64_MAX;

	for (struct convoy *c = convoys->first, *next; c; c = next) {
		next = c->next;
		at_ns = MIN(at_ns, look_at_convoy(convoys, c, now_ns, has_room));
	}
	if (!convoys->kept.n)
		return at_ns;
	convoy_sweep(convoys);
	return MIN(at_ns, lose_late(convoys, now_ns));
}
