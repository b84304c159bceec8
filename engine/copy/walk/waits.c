/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/copy/walk/waits.h"

#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/core/clock.h"

void run_waits(struct copy_run *p)
{
	p->time.waits_ns = engine_now_ns();
	p->walk->n_waiting++;
	cursor_run_waits(p->op.disk, p->time.waits_ns);
}

void run_goes_on(struct copy_run *p)
{
	uint64_t now_ns;

	if (!p->time.waits_ns)
		return;
	now_ns = engine_now_ns();
	p->time.waited_ns += now_ns - p->time.waits_ns;
	p->time.waits_ns = 0;
	p->walk->n_waiting--;
	cursor_run_begins(p->op.disk, now_ns);
}
