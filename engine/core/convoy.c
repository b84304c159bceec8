/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which members a convoy has, how far each may go, and which is too slow for it.
 *
 * Slow is a member that keeps the others waiting while there is room for them to work: so neither
 * a slow source, which all wait for, nor a busy device, where buffers are the limit, breaks a
 * convoy up. The measure is what a run of the fastest member takes. A fixed time was rejected: what
 * is long for a local disk is one read of a distant one.
 */
#include "engine/core/convoy.h"

#include <assert.h>
#include <stdlib.h>

#include "io/base.h"

/* A convoy waits for its last member to come on by a MiB as long as the fastest needs for so many
 * runs, and at least so long. */
#define PATIENCE_RUNS 8
#define PATIENCE_NS   UINT64_C(500000000)

/* At least so long for members that took no longer than that for a run so far: their device stalls,
 * and to read all once more costs more than a short wait. */
#define STALL_NS UINT64_C(3000000000)

/* So long at most, whatever it waits for: a member that hangs holds no other. */
#define STUCK_NS UINT64_C(10000000000)

/* It is asked so often meanwhile. What is longer between two looks is no wait: the processor was
 * another program's, or a call took its time. */
#define LOOK_NS UINT64_C(50000000)

/* Guest bytes. */
#define MIN_WINDOW (64 * KiB)

static bool is_convoy(const struct convoy *convoy)
{
	return convoy->n > 1;
}

/* Half of what may be kept: the rest is for what members have that end before others. */
static uint64_t window_len(const struct convoys *convoys)
{
	uint64_t n = 0;

	for (const struct convoy *c = convoys->first; c; c = c->next)
		n += is_convoy(c);
	n = n ? n : 1;
	return MAX(convoys->kept.max_len / 2 / n, MIN_WINDOW);
}

/* Guest bytes of the longest disk: where the convoy wraps. */
static uint64_t round_len(const struct convoy *convoy)
{
	uint64_t len = 0;

	for (const struct convoy_member *m = convoy->members; m; m = m->next)
		len = MAX(len, m->len);
	return len;
}

/* Guest bytes from the convoy's last member to that place; UINT64_MAX: more than a round. */
static uint64_t distance(const struct convoy *convoy, const struct convoy_place *at)
{
	const struct convoy_place *last = &convoy->last;

	if (convoy_is_before(at, last))
		return 0;
	if (at->lap == last->lap)
		return at->guest_off - last->guest_off;
	if (at->lap > last->lap + 1)
		return UINT64_MAX;
	return MAX(round_len(convoy), last->guest_off) - last->guest_off + at->guest_off;
}

static void find_last(struct convoy *convoy)
{
	const struct convoy_member *last = convoy->members;

	for (const struct convoy_member *m = last; m; m = m->next)
		if (convoy_is_before(&m->place, &last->place))
			last = m;
	if (last)
		convoy->last = last->place;
}

static struct convoy *find_convoy(struct convoys *convoys, uint64_t layer, uint64_t rate)
{
	struct convoy *c = convoys->first;

	while (c && (c->layer != layer || c->rate != rate || c->is_parted))
		c = c->next;
	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->layer = layer;
	c->rate = rate;
	c->next = convoys->first;
	convoys->first = c;
	return c;
}

void convoy_join(struct convoys *convoys, struct convoy_member *member, uint64_t layer,
		 uint64_t rate, uint64_t disk_len, struct convoy_place *begin)
{
	struct convoy *convoy = find_convoy(convoys, layer, rate);

	*member = (struct convoy_member){ .len = disk_len };
	*begin = (struct convoy_place){ 0 };
	if (!convoy)
		return;
	find_last(convoy);
	/* The others do not come by where its disk is, or not soon. */
	if (convoy->n && convoy->last.guest_off >= disk_len)
		return;
	if (convoy->n)
		*begin = convoy->last;
	member->convoy = convoy;
	member->place = *begin;
	member->next = convoy->members;
	convoy->members = member;
	convoy->n++;
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
	if (--convoy->n)
		return;
	while (*link != convoy)
		link = &(*link)->next;
	*link = convoy->next;
	free(convoy);
}

bool convoy_is_shared(const struct convoy_member *member)
{
	return member->convoy && is_convoy(member->convoy);
}

bool convoy_is_fed(const struct convoys *convoys, const struct convoy_member *member)
{
	return convoy_is_shared(member) || (member->convoy && convoys->kept.n);
}

bool convoy_lets_go(const struct convoys *convoys, const struct convoy_member *member,
		    const struct convoy_place *at)
{
	return !convoy_is_shared(member) || distance(member->convoy, at) < window_len(convoys);
}

void convoy_note_run(struct convoy_member *member, uint64_t took_ns)
{
	member->run_ns = member->run_ns ? (7 * member->run_ns + took_ns) / 8 : took_ns;
}

/* ---- once a round ---- */

static bool is_last(const struct convoy *convoy, const struct convoy_member *member)
{
	return member->place.lap == convoy->last.lap &&
	       member->place.guest_off / MiB == convoy->last.guest_off / MiB;
}

static uint64_t patience_ns(const struct convoy *convoy)
{
	uint64_t fastest = UINT64_MAX, slowest_of_last = 0, runs_ns;

	for (const struct convoy_member *m = convoy->members; m; m = m->next) {
		if (m->run_ns)
			fastest = MIN(fastest, m->run_ns);
		if (is_last(convoy, m))
			slowest_of_last = MAX(slowest_of_last, m->run_ns);
	}
	if (fastest == UINT64_MAX)
		return UINT64_MAX;
	runs_ns = PATIENCE_RUNS * fastest;
	return MAX(runs_ns, slowest_of_last > runs_ns ? PATIENCE_NS : STALL_NS);
}

static bool has_held(const struct convoy *convoy)
{
	for (const struct convoy_member *m = convoy->members; m; m = m->next)
		if (m->is_held && !is_last(convoy, m))
			return true;
	return false;
}

/* Members wait for the last ones, and that is these members' own affair. */
static bool waits(const struct convoy *convoy)
{
	for (const struct convoy_member *m = convoy->members; m; m = m->next)
		if (is_last(convoy, m) && m->awaits_source)
			return false;
	return has_held(convoy);
}

/* Its last member has not come on for longer than any other may wait, and there are others that
 * wait. *at_ns: when to look again. */
static bool is_stuck(struct convoy *convoy, bool came_on, uint64_t now_ns, uint64_t *at_ns)
{
	bool others_wait = has_held(convoy);

	if (came_on || !others_wait || !convoy->wait.stuck_ns)
		convoy->wait.stuck_ns = now_ns;
	if (others_wait)
		*at_ns = convoy->wait.stuck_ns + STUCK_NS;
	return now_ns - convoy->wait.stuck_ns >= STUCK_NS;
}

/* A member that has wrapped is fed by none that is still far behind: it goes alone. */
static void part_from_those_ahead(struct convoys *convoys, struct convoy *convoy)
{
	uint64_t far = 2 * window_len(convoys);
	struct convoy_member *next;

	for (struct convoy_member *m = convoy->members; m && is_convoy(convoy); m = next) {
		next = m->next;
		if (m->is_held && m->place.lap > convoy->last.lap &&
		    distance(convoy, &m->place) > far)
			convoy_leave(convoys, m);
	}
}

/* One member goes alone from now on, several as a convoy of their own; without memory for that they
 * stay. A convoy without its last members is one still, as at least one was held. */
static void part_from_last(struct convoys *convoys, struct convoy *convoy)
{
	struct convoy *slow = calloc(1, sizeof(*slow));
	struct convoy_member **link = &convoy->members, *m;

	if (!slow)
		return;
	*slow = (struct convoy){ .layer = convoy->layer,
				 .rate = convoy->rate,
				 .is_parted = true,
				 .last = convoy->last };
	while ((m = *link)) {
		if (!is_last(convoy, m)) {
			link = &m->next;
			continue;
		}
		*link = m->next;
		m->next = slow->members;
		m->convoy = slow;
		slow->members = m;
		convoy->n--;
		slow->n++;
	}
	slow->next = convoy->next;
	convoy->next = slow;
	find_last(convoy);
	find_last(slow);
}

static uint64_t look_at_convoy(struct convoys *convoys, struct convoy *convoy, uint64_t now_ns,
			       bool has_room)
{
	uint64_t patience, step, at_ns = UINT64_MAX;
	bool is_hung;

	find_last(convoy);
	part_from_those_ahead(convoys, convoy);
	step = convoy->last.lap << 44 | convoy->last.guest_off / MiB;
	if (step != convoy->wait.step)
		convoy->wait.len_ns = convoy->wait.since_ns = 0;
	is_hung = is_stuck(convoy, step != convoy->wait.step, now_ns, &at_ns);
	convoy->wait.step = step;
	if (convoy->wait.since_ns)
		convoy->wait.len_ns += MIN(now_ns - convoy->wait.since_ns, LOOK_NS);
	convoy->wait.since_ns = 0;
	patience = patience_ns(convoy);
	if (!is_convoy(convoy))
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
	part_from_last(convoys, convoy);
	return now_ns;
}

/* Some member is still to come past. Places of one lap before and behind are told by distance: none
 * reads further ahead than a window and the length of a run. */
static bool is_needed(void *opaque, const struct kept *kept)
{
	struct convoys *convoys = opaque;
	uint64_t far = 2 * window_len(convoys);

	for (const struct convoy *c = convoys->first; c; c = c->next) {
		struct convoy_place end = { c->last.lap, kept->guest_off + kept->len };

		if (c->is_parted && !is_convoy(c)) /* it was too slow for what was kept */
			continue;
		if (end.guest_off <= c->last.guest_off)
			end.lap++;
		if (distance(c, &end) <= far)
			return true;
	}
	return false;
}

/* A read of one member's that takes longer than its runs do hangs, or waits for something of that
 * member's own: the others read for themselves. Returns when to look again. */
static uint64_t lose_late(struct convoys *convoys, uint64_t now_ns)
{
	uint64_t late_ns = STUCK_NS, first_ns;

	for (const struct convoy *c = convoys->first; c; c = c->next)
		for (const struct convoy_member *m = c->members; m; m = m->next)
			late_ns = MAX(late_ns, PATIENCE_RUNS * m->run_ns);
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
	kept_sweep(&convoys->kept, is_needed, convoys);
	return MIN(at_ns, lose_late(convoys, now_ns));
}

void convoys_close(struct convoys *convoys)
{
	assert(!convoys->first);
	kept_sweep(&convoys->kept, is_needed, convoys);
	assert(!convoys->kept.n);
}
