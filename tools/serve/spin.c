/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest that waits for each request sends the next one some microseconds after
 * the last one's end; to sleep and be woken costs several times that. A guest
 * that is idle costs nothing: the time doubles only while waits are short, and
 * is halved by each that is not.
 *
 * Most writes are done by the kernel's threads, which may have no core but ours.
 * To look for their end without a pause would hold up what makes it; to sleep costs a
 * wake-up for each. So the core is given away between two looks (sched_yield()).
 *
 * Where other programs want the core, looking spends the share of it that the next
 * request would need. That shows: a look takes a time slice of theirs.
 */
#include "tools/serve/spin.h"

#define SPIN_FIRST_NS 4000u

void spin_learn(struct spin *spin, uint64_t waited_ns, uint64_t slept_ns)
{
	if (!slept_ns)
		return;
	if (waited_ns > SPIN_SHORT_NS) {
		spin->ns /= 2;
		if (spin->ns < SPIN_FIRST_NS)
			spin->ns = 0;
		return;
	}
	spin->ns = spin->ns ? spin->ns * 2 : SPIN_FIRST_NS;
	if (spin->ns > SPIN_MAX_NS)
		spin->ns = SPIN_MAX_NS;
}

bool spin_take_look(struct spin *spin)
{
	if (!spin->n_taken_waits)
		return true;
	spin->n_taken_waits--;
	return false;
}

void spin_looked(struct spin *spin, uint64_t took_ns)
{
	if (took_ns > SPIN_TAKEN_NS)
		spin->n_taken_waits = SPIN_TAKEN_WAITS;
}
