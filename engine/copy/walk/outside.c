/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An engine takes from the budget what one run needs, and never more, so that the processes that
 * share it take turns, and one that is killed has taken little in vain. For the same reasons taking
 * for many runs at once was rejected.
 */
#include "engine/copy/walk/outside.h"

#include "engine/copy/walk/run_state.h"
#include "engine/core/disk.h"

/* A program that answers with a longer wait is not believed: nothing could end it. */
#define MAX_WAIT_NS (UINT64_C(86400) * 1000000000)

static void take_outside(struct bpull_engine *engine, uint64_t now_ns, uint64_t bytes)
{
	struct outside_budget *outside = &engine->outside;
	uint64_t wait_ns = outside->ask(outside->opaque, bytes);

	outside->taken += bytes;
	outside->ready_ns = now_ns + MIN(wait_ns, MAX_WAIT_NS);
}

uint64_t outside_ready_ns(struct copy_run *p, uint64_t now_ns)
{
	struct outside_budget *outside = &p->op.engine->outside;

	if (!outside->ask)
		return now_ns;
	if (outside->taken < p->plan.data_len && outside->ready_ns <= now_ns)
		take_outside(p->op.engine, now_ns, p->plan.data_len - outside->taken);
	return outside->ready_ns;
}

void outside_charge(struct copy_run *p, uint64_t now_ns, uint64_t len)
{
	struct outside_budget *outside = &p->op.engine->outside;

	if (!outside->ask)
		return;
	if (outside->taken < len)
		take_outside(p->op.engine, now_ns, len - outside->taken);
	outside->taken -= len;
}
