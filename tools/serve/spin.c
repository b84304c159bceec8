/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest that waits for each request sends the next one some microseconds after
 * the last one's end; to sleep and be woken costs several times that. A guest
 * that is idle costs nothing: the time doubles only while waits are short, and
 * is halved by each that is not.
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
