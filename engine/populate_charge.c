/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy run pays before it reads: only bytes the chain really holds, at their
 * true size, to the job's limiter and the engine's. Runs that can't pay yet
 * wait in a queue, first come, first served. Charging the cursor's steps
 * instead was rejected: holes would cost as much as data.
 */
#include <errno.h>

#include "engine/engine.h"
#include "engine/populate.h"
#include "io/base.h"

static uint64_t tokens_ready_ns(struct populate *p, uint64_t now_ns)
{
	uint64_t own = limiter_ready_ns(&p->op.disk->job.limiter, now_ns, p->plan.data_len);
	uint64_t shared = limiter_ready_ns(&p->op.engine->limiter, now_ns, p->plan.data_len);

	return MAX(own, shared);
}

static void take_tokens(struct populate *p, uint64_t now_ns)
{
	limiter_charge(&p->op.disk->job.limiter, now_ns, p->plan.data_len);
	limiter_charge(&p->op.engine->limiter, now_ns, p->plan.data_len);
	p->phase = POPULATE_READ;
}

enum step populate_charge(struct populate *p)
{
	struct job *job = &p->op.disk->job;
	uint64_t now_ns;

	if (!p->plan.data_len || (!job->limiter.rate && !p->op.engine->limiter.rate)) {
		p->phase = POPULATE_READ;
		return STEP_NEXT;
	}
	now_ns = engine_now_ns();
	if (!job->throttled_first && !job->paused && tokens_ready_ns(p, now_ns) <= now_ns) {
		take_tokens(p, now_ns);
		return STEP_NEXT;
	}
	p->next_throttled = NULL;
	if (job->throttled_last)
		job->throttled_last->next_throttled = p;
	else
		job->throttled_first = p;
	job->throttled_last = p;
	return STEP_WAIT;
}

static struct populate *pop_throttled(struct job *job)
{
	struct populate *p = job->throttled_first;

	job->throttled_first = p->next_throttled;
	if (!job->throttled_first)
		job->throttled_last = NULL;
	return p;
}

uint64_t populate_unthrottle(struct bpull_disk *disk, uint64_t now_ns)
{
	struct job *job = &disk->job;

	while (job->throttled_first && !job->paused) {
		uint64_t at_ns = tokens_ready_ns(job->throttled_first, now_ns);
		struct populate *p;

		if (at_ns > now_ns)
			return at_ns;
		p = pop_throttled(job);
		take_tokens(p, now_ns);
		op_ready(&p->op);
	}
	return UINT64_MAX;
}

void populate_cancel_throttled(struct bpull_disk *disk)
{
	while (disk->job.throttled_first) {
		struct populate *p = pop_throttled(&disk->job);

		op_set_error(&p->op, -ECANCELED, NULL, 0, false);
		op_ready(&p->op);
	}
}
