/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy run pays before it reads: only bytes the chain really holds, at their
 * true size, to the job's limiter and the engine's. Runs that can't pay yet
 * wait in a queue, first come, first served. Charging the cursor's steps
 * instead was rejected: holes would cost as much as data.
 *
 * For a byte that many overlays get each job pays once, and reading it is free. What jobs
 * read of a source is never more than what they copy of it, so a limit holds for the
 * larger of the two. Charging the engine for the source alone was rejected: N clones
 * would write N times what its limit says.
 *
 * Of several jobs that wait for the engine's tokens the one goes first that had
 * the least of them since it began to wait (start-time fair queueing, in bytes,
 * whatever the runs' lengths). Whose disk is looked at first was rejected: a
 * timer and the rotation of the disks can keep step, and one job gets it all.
 */
#include "engine/copy/walk/charge.h"

#include <errno.h>

#include "engine/copy/walk/outside.h"
#include "engine/copy/walk/requests.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/waits.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/core/rate/limiter.h"
#include "io/base.h"
#include "io/fifo.h"

void throttle_set_speed(struct bpull_disk *disk, uint64_t now_ns, uint64_t bandwidth,
			uint64_t burst)
{
	limiter_set(&disk->walk->throttle.limiter, now_ns, bandwidth, burst);
}

/* The first waiting run of another job that lacks nothing but the engine's tokens, and whose turn
 * is before this job's: of several the first in turn. NULL: there is none. */
static struct copy_run *before_us(const struct copy_run *p, uint64_t now_ns)
{
	uint64_t turn = p->walk->throttle.shared_turn;
	struct copy_run *first = NULL;

	for (struct bpull_disk *disk = p->op.engine->disks; disk; disk = disk->next) {
		struct throttle *theirs = &disk->walk->throttle;
		struct copy_run *other = theirs->first;

		if (disk == p->op.disk || !other || disk->job.paused ||
		    theirs->shared_turn >= turn ||
		    limiter_ready_ns(&theirs->limiter, now_ns, other->plan.data_len) > now_ns ||
		    requests_ready_ns(other, now_ns) > now_ns)
			continue;
		turn = theirs->shared_turn;
		first = other;
	}
	return first;
}

static uint64_t shared_ready_ns(struct copy_run *p, uint64_t now_ns)
{
	struct limiter *shared = &p->op.engine->limiter;
	bool is_shared =
		shared->rate || p->op.engine->request_limiter.rate || p->op.engine->outside.ask;
	struct copy_run *first = is_shared ? before_us(p, now_ns) : NULL;

	if (first) /* that run takes the tokens when its disk is looked at, in this same round */
		return MAX(limiter_ready_ns(shared, now_ns, first->plan.data_len), now_ns + 1);
	return limiter_ready_ns(shared, now_ns, p->plan.data_len);
}

static uint64_t tokens_ready_ns(struct copy_run *p, uint64_t now_ns)
{
	uint64_t own = limiter_ready_ns(&p->walk->throttle.limiter, now_ns, p->plan.data_len);
	uint64_t bytes_ns = MAX(own, shared_ready_ns(p, now_ns));
	uint64_t all_ns = MAX(bytes_ns, requests_ready_ns(p, now_ns));

	return all_ns > now_ns ? all_ns : outside_ready_ns(p, now_ns);
}

static void charge(struct copy_run *p, uint64_t now_ns, uint64_t len)
{
	struct bpull_engine *engine = p->op.engine;
	struct throttle *throttle = &p->walk->throttle;

	limiter_charge(&throttle->limiter, now_ns, len);
	limiter_charge(&engine->limiter, now_ns, len);
	outside_charge(p, now_ns, len);
	engine->shared_turn = MAX(engine->shared_turn, throttle->shared_turn);
	throttle->shared_turn += len;
	p->charge.charged_len += len;
}

void copy_run_paid_is_done(struct copy_run *p)
{
	uint64_t now_ns;

	requests_end(p);
	if (!p->charge.charged_len)
		return;
	now_ns = engine_now_ns();
	limiter_done(&p->walk->throttle.limiter, now_ns, p->charge.charged_len);
	limiter_done(&p->op.engine->limiter, now_ns, p->charge.charged_len);
	p->charge.charged_len = 0;
}

/* A run that has done nothing yet waits for tokens without its lock, so that a guest may write
 * there meanwhile; then the run maps again. A run that is at a later piece of a large cluster keeps
 * the lock, since its space is reserved. */
static bool may_unlock(const struct copy_run *p)
{
	return !p->pieces.off;
}

static void end_waiting(struct copy_run *p)
{
	run_goes_on(p);
	op_ready(&p->op);
}

/* The run has paid, and goes on where it stopped. */
static void take_tokens(struct copy_run *p, uint64_t now_ns)
{
	charge(p, now_ns, p->plan.data_len);
	requests_charge(p, now_ns);
	p->phase = COPY_RUN_READ;
	if (p->locked)
		return;
	p->charge.paid_len = p->plan.data_len;
	p->phase = COPY_RUN_LOCK;
}

/* The run is in the middle of a cluster, and a guest wants its lock, or the job is paused: a pause
 * waits for all runs to end, and makes durable what they copied. */
static bool is_in_the_way(const struct copy_run *p)
{
	return !may_unlock(p) && (range_lock_is_wanted(&p->lock) || p->op.disk->job.paused);
}

enum step copy_run_charge(struct copy_run *p)
{
	const struct job *job = &p->op.disk->job;
	struct throttle *throttle = &p->walk->throttle;
	uint64_t now_ns;

	/* A guest that is held for the end of a commit waits for no limit. */
	if (p->kind == RUN_ON_READ || !p->plan.data_len || job->down.is_held ||
	    (!throttle->limiter.rate && !p->op.engine->limiter.rate && !requests_are_limited(p) &&
	     !p->op.engine->outside.ask)) {
		p->phase = COPY_RUN_READ;
		return STEP_NEXT;
	}
	now_ns = engine_now_ns();
	if (p->charge.paid_len || is_in_the_way(p)) {
		charge(p, now_ns, p->plan.data_len - MIN(p->charge.paid_len, p->plan.data_len));
		p->charge.paid_len = 0;
		p->phase = COPY_RUN_READ;
		return STEP_NEXT;
	}
	if (!throttle->first) /* tokens that the job did not use while it wanted none are gone */
		throttle->shared_turn = MAX(throttle->shared_turn, p->op.engine->shared_turn);
	if (!throttle->first && !job->paused && tokens_ready_ns(p, now_ns) <= now_ns) {
		take_tokens(p, now_ns);
		return STEP_NEXT;
	}
	FIFO_APPEND(throttle, p, charge.next_throttled);
	run_waits(p);
	if (may_unlock(p))
		copy_run_unlock(p);
	return STEP_WAIT;
}

uint64_t throttle_release(struct bpull_disk *disk, uint64_t now_ns)
{
	struct throttle *throttle = &disk->walk->throttle;

	while (throttle->first && !disk->job.paused) {
		uint64_t at_ns = tokens_ready_ns(throttle->first, now_ns);
		struct copy_run *p;

		if (at_ns > now_ns)
			return at_ns;
		p = FIFO_TAKE(throttle, charge.next_throttled);
		take_tokens(p, now_ns);
		end_waiting(p);
	}
	return UINT64_MAX;
}

void throttle_bypass(struct bpull_disk *disk)
{
	struct throttle *throttle = &disk->walk->throttle;
	struct copy_run *next;

	/* Only a later piece of a large cluster waits with its lock, and runs that began later may
	 * be before it in the queue. */
	for (struct copy_run *p = throttle->first; p; p = next) {
		next = p->charge.next_throttled;
		if (!p->locked || !is_in_the_way(p))
			continue;
		FIFO_REMOVE(throttle, p, charge.next_throttled);
		take_tokens(p, engine_now_ns());
		end_waiting(p);
	}
}

void throttle_cancel(struct bpull_disk *disk)
{
	struct throttle *throttle = &disk->walk->throttle;
	struct copy_run *p;

	while ((p = FIFO_TAKE(throttle, charge.next_throttled))) {
		op_set_error(&p->op, -ECANCELED, NULL, 0, false);
		end_waiting(p);
	}
}
