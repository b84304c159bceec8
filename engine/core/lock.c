/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The lock of an engine with a thread of its own. One lock for all was chosen over a
 * mailbox of calls: each public function would need a message and an answer,
 * and would wait for the engine's thread just the same.
 *
 * Opening, starting and closing read and walk for seconds. They do so on the
 * caller's thread, and let go of the lock whenever they wait for a file
 * (engine_yields_begin()): what they look at is either not the engine's yet, or
 * no other thread may touch it meanwhile. Making operations of them was rejected: each
 * audit, repair and walk in formats/ would have to be cut into steps that remember
 * where they were, for the same order of reads.
 */
#include "engine/core/lock.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/io.h"

/* A waiter spins this long before it blocks. Rounds beside a pull: 16 us and less, measured. */
#define SPIN_NS 20000

/* A thread that yields may compute so long before it lets others in. It looks at the clock once in
 * so many pauses. */
#define MAX_HOLD_NS     200000
#define PAUSES_PER_LOOK 16

/* Without an engine thread a wait sleeps at most so long at a time, in case nothing is under
 * way. */
#define MAX_NAP_MS 1000

/* ---- the lock ---- */

static void enter(struct engine_thread *t)
{
	atomic_store(&t->owner, pthread_self());
	t->depth = 1;
}

void engine_lock_take(struct engine_thread *t)
{
	pthread_mutex_lock(&t->lobby);
	pthread_mutex_lock(&t->mutex);
	pthread_mutex_unlock(&t->lobby);
	enter(t);
}

/* Spins first: a round of the engine's thread ends sooner than the kernel wakes a sleeper, and most
 * threads that come in read a page. */
static void take_soon(struct engine_thread *t)
{
	uint64_t end_ns = 0;
	bool taken;

	pthread_mutex_lock(&t->lobby);
	while (!(taken = !pthread_mutex_trylock(&t->mutex)) && t->spins) {
		uint64_t now_ns = engine_now_ns();

		if (!end_ns)
			end_ns = now_ns + SPIN_NS;
		else if (now_ns >= end_ns)
			break;
	}
	if (!taken)
		pthread_mutex_lock(&t->mutex);
	pthread_mutex_unlock(&t->lobby);
	enter(t);
}

void engine_lock_give(struct engine_thread *t)
{
	t->depth = 0;
	atomic_store(&t->owner, 0);
	pthread_mutex_unlock(&t->mutex);
}

struct bpull_engine *engine_enter(struct bpull_engine *engine)
{
	struct engine_thread *t;

	if (!engine || !engine->thread.is_on)
		return engine;
	t = &engine->thread;
	if (pthread_equal(atomic_load(&t->owner), pthread_self()))
		t->depth++;
	else
		take_soon(t);
	return engine;
}

/* The kernel may do at once what it is handed, or wake a worker in this thread's place. So this
 * thread gives the lock back meanwhile, and no other waits for it. The mutex `ring` keeps the ring
 * this thread's. */
void engine_submit(struct bpull_engine *engine)
{
	struct engine_thread *t = &engine->thread;

	if (!t->is_on || !pthread_equal(t->runner, pthread_self())) {
		io_kick(engine->io);
		return;
	}
	if (!io_feed(engine->io))
		return;
	pthread_mutex_lock(&t->ring);
	engine_lock_give(t);
	io_enter(engine->io);
	pthread_mutex_unlock(&t->ring);
	engine_lock_take(t);
}

void engine_leave(struct bpull_engine *engine)
{
	struct engine_thread *t;

	if (!engine || !engine->thread.is_on)
		return;
	t = &engine->thread;
	if (t->depth > 1)
		t->depth--;
	else
		engine_lock_give(t);
}

bool engine_sleep_on(struct engine_thread *t, pthread_cond_t *cond, uint64_t end_ns)
{
	struct timespec end = { .tv_sec = end_ns / UINT64_C(1000000000),
				.tv_nsec = end_ns % UINT64_C(1000000000) };
	unsigned depth = t->depth;
	int rc = 0;

	t->depth = 0;
	atomic_store(&t->owner, 0);
	if (end_ns == UINT64_MAX)
		pthread_cond_wait(cond, &t->mutex);
	else
		rc = pthread_cond_timedwait(cond, &t->mutex, &end);
	atomic_store(&t->owner, pthread_self());
	t->depth = depth;
	return rc != ETIMEDOUT;
}

/* ---- letting others in ---- */

static void yields_give(struct blocking *blocking)
{
	struct engine_yields *yields = (struct engine_yields *)blocking;
	struct engine_thread *t = &yields->engine->thread;

	yields->depth = t->depth;
	engine_lock_give(t);
}

/* Operations and calls that met a table which this thread was reading, or a state which it was
 * changing, look again. */
static void yields_take(struct blocking *blocking)
{
	struct engine_yields *yields = (struct engine_yields *)blocking;
	struct bpull_engine *engine = yields->engine;
	struct engine_thread *t = &engine->thread;

	take_soon(t);
	t->depth = yields->depth;
	yields->since_ns = engine_now_ns();
	if (!engine->table_waiters.first && !t->n_waiters)
		return;
	op_wake_all(&engine->table_waiters, 0, NULL, 0, false);
	engine_wake(engine);
}

static void yields_pause(struct blocking *blocking)
{
	struct engine_yields *yields = (struct engine_yields *)blocking;

	if (++yields->n_pauses % PAUSES_PER_LOOK ||
	    engine_now_ns() - yields->since_ns < MAX_HOLD_NS)
		return;
	yields_give(blocking);
	yields_take(blocking);
}

void engine_yields_begin(struct engine_yields *yields, struct bpull_engine *engine)
{
	*yields = (struct engine_yields){
		.blocking = { .begin = yields_give, .end = yields_take, .pause = yields_pause },
		.engine = engine,
		.since_ns = engine_now_ns(),
	};
	if (engine->thread.is_on)
		yields->before = blocking_set(&yields->blocking);
}

void engine_yields_end(struct engine_yields *yields)
{
	if (yields->engine->thread.is_on)
		blocking_set(yields->before);
}

/* ---- waiting ---- */

int engine_nap_ms(uint64_t end_ns)
{
	uint64_t now_ns = engine_now_ns();

	if (now_ns >= end_ns)
		return 0;
	return (int)MIN(div_round_up(end_ns - now_ns, 1000000), (uint64_t)MAX_NAP_MS);
}

void waiter_wait(struct bpull_engine *engine, struct waiter *waiter)
{
	while (!waiter->done)
		engine_sleep_on(&engine->thread, &waiter->cond, UINT64_MAX);
}

void waiter_done(struct waiter *waiter, int result, int count)
{
	waiter->result = result;
	waiter->count = count;
	waiter->done = true;
	pthread_cond_signal(&waiter->cond);
}

/* ---- the thread ---- */

void engine_notify(struct bpull_engine *engine, bool are_there)
{
	struct engine_thread *t = &engine->thread;
	uint64_t count = 1;

	if (!t->is_on)
		return;
	if (are_there)
		(void)!write(t->event_fd, &count, sizeof(count));
	else
		(void)!read(t->event_fd, &count, sizeof(count));
}
