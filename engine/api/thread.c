/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Starting and stopping an engine's own thread. The lock that it shares with the callers is
 * core/lock.c.
 */
#include "engine/api/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/job/round.h"
#include "io/base.h"
#include "io/thread.h"

static void *run_rounds_alone(void *opaque)
{
	struct bpull_engine *engine = opaque;
	struct engine_thread *t = &engine->thread;

	engine_lock_take(t);
	t->runner = pthread_self();
	engine_lock_give(t);
	for (;;) {
		struct pollfd ready = { .fd = engine->loop.epoll_fd, .events = POLLIN };
		bool goes_on;

		engine_lock_take(t);
		if (t->quit)
			break;
		engine_run(engine);
		if (t->n_waiters)
			pthread_cond_broadcast(&t->round);
		goes_on = engine->loop.again;
		if (!goes_on)
			loop_arm_backend(engine);
		engine_lock_give(t);
		if (!goes_on)
			poll(&ready, 1, -1);
	}
	engine_lock_give(t);
	return NULL;
}

static int init(struct engine_thread *t)
{
	pthread_condattr_t attr;

	t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->event_fd < 0)
		return -errno;
	t->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	pthread_mutex_init(&t->lobby, NULL);
	pthread_mutex_init(&t->mutex, NULL);
	pthread_mutex_init(&t->ring, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->round, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

static void destroy(struct engine_thread *t)
{
	pthread_mutex_destroy(&t->lobby);
	pthread_mutex_destroy(&t->mutex);
	pthread_mutex_destroy(&t->ring);
	pthread_cond_destroy(&t->round);
	close(t->event_fd);
	t->is_on = false;
}

int engine_thread_start(struct bpull_engine *engine)
{
	struct engine_thread *t = &engine->thread;
	int rc = init(t);

	if (rc)
		return rc;
	t->is_on = true;
	rc = thread_start(&t->thread, run_rounds_alone, engine);
	if (rc)
		destroy(t);
	return rc;
}

void engine_thread_stop(struct bpull_engine *engine)
{
	struct engine_thread *t = &engine->thread;

	if (!t->is_on)
		return;
	engine_lock_take(t);
	t->quit = true;
	engine_lock_give(t);
	engine_wake(engine);
	pthread_join(t->thread, NULL);
	destroy(t);
}
