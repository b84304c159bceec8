/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/core/rate/calm.h"

#include "io/base.h"

bool calm_may_write(const struct calm *calm, uint64_t now_ns)
{
	return now_ns >= calm->until_ns;
}

void calm_note(struct calm *calm, uint64_t began_ns, uint64_t ended_ns)
{
	if (ended_ns - began_ns < CALM_LONG_NS)
		return;
	if (began_ns < calm->until_ns + calm->pause_ns)
		calm->pause_ns = MIN(2 * calm->pause_ns, CALM_MAX_PAUSE_NS);
	else
		calm->pause_ns = CALM_PAUSE_NS;
	calm->until_ns = ended_ns + calm->pause_ns;
}
