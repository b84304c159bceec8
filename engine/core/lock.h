/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The lock of an engine with a thread of its own (BPULL_ENGINE_THREAD). The thread
 * that holds it is the owner for that time, so all that belongs to the owner stays as
 * it is. Only the engine's own thread runs operations, since the kernel cancels the
 * requests of a thread that exits.
 */
#ifndef BLOCKPULL_CORE_LOCK_H
#define BLOCKPULL_CORE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"
#include "io/blocking.h"

struct bpull_engine;

struct engine_thread {
	bool is_on;
	pthread_t thread;
	pthread_t runner; /* the same, set by the thread itself: it alone runs operations */
	/* To come in, a thread takes the lobby, then the mutex, and gives the lobby back. A thread
	 * that waits for the mutex holds the lobby, so the engine's thread can't take the mutex
	 * again before it. */
	pthread_mutex_t lobby, mutex;
	pthread_mutex_t
		ring; /* its holder may enter the ring; taken only under the engine's lock */
	bool spins;   /* a waiter spins first: the mutex's holder runs on another processor */
	_Atomic(pthread_t) owner; /* the mutex's holder, where depth > 0 */
	unsigned depth;
	pthread_cond_t round; /* after each round of the engine, while a thread waits */
	unsigned n_waiters;
	bool quit;
	int event_fd; /* readable while there are events */
};

/* A thread that waits for one request. */
struct waiter {
	pthread_cond_t cond;
	bool done;
	int result;
	int count;
};

/* The caller is inside, which means that it holds the lock, until engine_leave(). Calls may be
 * nested. They do nothing for NULL, and for an engine without a thread. */
struct bpull_engine *engine_enter(struct bpull_engine *engine);
void engine_leave(struct bpull_engine *engine);

static inline void engine_leave_scope(struct bpull_engine **engine)
{
	engine_leave(*engine);
}

/* Inside up to the end of the block. */
#define ENGINE_SCOPE(engine)                                                               \
	__attribute__((cleanup(engine_leave_scope), unused)) struct bpull_engine *inside = \
		engine_enter(engine)

/* The same with a disk's, NULL allowed. */
#define DISK_SCOPE(disk) ENGINE_SCOPE((disk) ? (disk)->engine : NULL)

/* Called inside. Between the two, other threads may come in whenever this thread waits for a
 * file or has computed for a while. They may do all but what the caller keeps them from. Not
 * for the engine's own thread. Nested ones end in reverse order. Without an engine thread they
 * do nothing. */
struct engine_yields {
	struct blocking blocking;
	struct blocking *before;
	struct bpull_engine *engine;
	unsigned depth; /* the thread's, while others are inside */
	unsigned n_pauses;
	uint64_t since_ns; /* when other threads could come in last */
};

void engine_yields_begin(struct engine_yields *yields, struct bpull_engine *engine);
void engine_yields_end(struct engine_yields *yields);

/* Called inside, as the last thing of a round: hands the kernel what was submitted. Other threads
 * may be inside meanwhile. */
void engine_submit(struct bpull_engine *engine);
/* Called inside: sleeps until waiter_done(). */
void waiter_wait(struct bpull_engine *engine, struct waiter *waiter);
void waiter_done(struct waiter *waiter, int result, int count);
/* Called inside: has event_fd say that there are events, or none. */
void engine_notify(struct bpull_engine *engine, bool are_there);

/* Waits for the engine's lock; a thread that waits already is first. */
void engine_lock_take(struct engine_thread *t);

/* Gives the engine's lock back. */
void engine_lock_give(struct engine_thread *t);

/* Sleeps on the condition: others are inside meanwhile. False: end_ns has come. */
bool engine_sleep_on(struct engine_thread *t, pthread_cond_t *cond, uint64_t end_ns);

/* Milliseconds from now to end_ns, as poll() wants them; -1: for ever. */
int engine_nap_ms(uint64_t end_ns);

#endif
