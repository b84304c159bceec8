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
	pthread_t runner; /* the same thread, set by itself: it alone runs operations */
	/* To come in, a thread takes the lobby, then the mutex, and gives the lobby back. A thread
	 * that waits for the mutex holds the lobby, so the engine's thread can't take the mutex
	 * again before it. */
	pthread_mutex_t lobby, mutex;
	pthread_mutex_t
		ring; /* its holder may enter the ring; taken only under the engine's lock */
	bool spins;   /* a waiter spins first: the holder runs on another processor */
	_Atomic(pthread_t) owner; /* the mutex's holder, where depth > 0 */
	unsigned depth;           /* nested engine_enter() calls of the owner */
	pthread_cond_t round;     /* signalled after each round, if a thread waits for one */
	unsigned n_waiters;       /* threads that wait for a round */
	bool quit;
	int event_fd; /* readable while there are events */
};

/* A call that waits for one guest request. */
struct waiter {
	pthread_cond_t cond;
	bool done;
	int result; /* 0 or -errno */
	int count;  /* extents, of a block status */
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

/* The same for a disk's engine; the disk may be NULL. */
#define DISK_SCOPE(disk) ENGINE_SCOPE((disk) ? (disk)->engine : NULL)

/* Called inside. From engine_yields_begin() to engine_yields_end(), this thread gives the lock away
 * whenever it waits for a file or has computed for a while, and other threads come in. The caller
 * keeps them from what it works on, say by disk.exclusive. Not for the engine's own thread. Nested
 * ones end in reverse order. Without an engine thread both calls do nothing. */
struct engine_yields {
	struct blocking blocking;
	struct blocking *before;
	struct bpull_engine *engine;
	unsigned depth; /* engine_thread.depth, kept while others are inside */
	unsigned n_pauses;
	uint64_t since_ns; /* when this thread took the lock last */
};

void engine_yields_begin(struct engine_yields *yields, struct bpull_engine *engine);
void engine_yields_end(struct engine_yields *yields);

/* Called inside, as the last thing of a round: hands the kernel what was submitted. Other threads
 * may be inside meanwhile. */
void engine_submit(struct bpull_engine *engine);
/* Called inside: sleeps until waiter_done(). */
void waiter_wait(struct bpull_engine *engine, struct waiter *waiter);
void waiter_done(struct waiter *waiter, int result, int count);
/* Called inside: makes event_fd readable, since there are events, or not readable, since there are
 * none. */
void engine_notify(struct bpull_engine *engine, bool are_there);

/* Waits for the engine's lock, after a thread that waits already. */
void engine_lock_take(struct engine_thread *t);

/* Gives the engine's lock back. */
void engine_lock_give(struct engine_thread *t);

/* Called inside. Gives the lock away while the thread sleeps on the condition. False: end_ns has
 * come. */
bool engine_sleep_on(struct engine_thread *t, pthread_cond_t *cond, uint64_t end_ns);

/* Milliseconds to sleep before the next look, at most a second: for poll(). 0: end_ns has come. */
int engine_nap_ms(uint64_t end_ns);

#endif
