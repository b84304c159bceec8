/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One round of the engine: the operations that can go on, then every disk's job and guest
 * requests, and when the timer must call again. The calls that wait run rounds until what they
 * wait for is there.
 */
#include "engine/job/round.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/timerfd.h>

#include "engine/copy/company_look.h"
#include "engine/copy/walk/slots.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/core/merge.h"
#include "engine/core/op.h"
#include "engine/core/rate/limiter.h"
#include "engine/guest/guest.h"
#include "engine/job/chain/node.h"
#include "engine/job/job.h"
#include "engine/job/progress/info.h"
#include "engine/job/progress/pace.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/io.h"

/* One call of process() begins no more rounds than these, and none after so long: other descriptors
 * of the program wait, and so do other threads. Of files in memory each round may copy all that the
 * buffers take. */
#define MAX_ROUNDS  64
#define MAX_CALL_NS UINT64_C(5000000)

/* So many calls in a row may hand out events without a round. */
#define MAX_WITHOUT_ROUND 64

/* A completion waits no longer than this for later ones. */
#define MAX_LATE_NS UINT64_C(150000000)

/* All that a round does with a disk. */
static void run_disk(struct bpull_disk *disk, uint64_t now_ns)
{
	if (disk->job.step != JOB_IDLE) {
		job_obey(disk, now_ns);
		pace_run(disk, now_ns);
		job_run(disk, now_ns);
	}
	if (disk->job.step != JOB_IDLE)
		job_publish_info(disk, now_ns);
	guest_run(disk, now_ns);
}

/* Each job looks at its state; the disk that goes first changes, so that none starves. */
static void run_jobs(struct bpull_engine *engine, uint64_t now_ns)
{
	struct bpull_disk *first = engine->disks, **link;

	slots_look(engine);
	engine->convoys.due_ns = company_look(engine, now_ns);
	for (struct bpull_disk *disk = first; disk; disk = disk->next)
		run_disk(disk, now_ns);
	if (company_was_left(engine))
		engine_rerun(engine); /* others may go on */
	node_sweep(engine);
	first = engine->disks;
	if (!first || !first->next)
		return;
	engine->disks = first->next;
	for (link = &engine->disks; *link; link = &(*link)->next)
		;
	*link = first;
	first->next = NULL;
}

static void arm_timer(struct bpull_engine *engine, uint64_t now_ns)
{
	uint64_t at_ns = engine->convoys.due_ns;
	struct itimerspec when = { 0 };

	for (struct bpull_disk *disk = engine->disks; disk; disk = disk->next) {
		at_ns = MIN(at_ns, job_deadline_ns(disk, now_ns));
		at_ns = MIN(at_ns, guest_deadline_ns(disk));
	}
	if (at_ns == UINT64_MAX)
		at_ns = 0;
	if (at_ns == engine->loop.timer_ns)
		return;
	engine->loop.timer_ns = at_ns;
	when.it_value.tv_sec = at_ns / UINT64_C(1000000000);
	when.it_value.tv_nsec = at_ns % UINT64_C(1000000000);
	timerfd_settime(engine->loop.timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* A job at its limit: the next run waits for tokens, and the one before need not be looked at any
 * sooner. Waking for each read and each write would be three times a run instead of once. */
static bool waits_for_tokens(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	return job->step == JOB_COPYING && disk->walk->throttle.first && !job->paused &&
	       !job->fault.error && !job->aborted;
}

/* Completions may wait for the timer: all that goes on are jobs that wait for tokens. */
static bool may_be_late(const struct bpull_engine *engine, uint64_t now_ns)
{
	bool any = false;

	if (!engine->loop.timer_ns || engine->loop.timer_ns > now_ns + MAX_LATE_NS ||
	    engine_guest_is_active(engine))
		return false;
	for (const struct bpull_disk *disk = engine->disks; disk; disk = disk->next) {
		if (disk->job.step != JOB_IDLE && !waits_for_tokens(disk))
			return false;
		if (disk->job.step == JOB_IDLE && disk->commits.in_flight)
			return false;
		any |= disk->job.step != JOB_IDLE;
	}
	return any;
}

/* No job, no request and no time to wait for is left to the next round. */
static bool leaves_nothing(const struct bpull_engine *engine)
{
	const struct engine_loop *loop = &engine->loop;

	if (loop->again || loop->timer_ns || engine->guests.n || engine->io->n_in_flight)
		return false;
	for (const struct bpull_disk *disk = engine->disks; disk; disk = disk->next)
		if (disk_has_job(disk) || disk->nodes.is_over)
			return false;
	return true;
}

static void take_speed(struct bpull_engine *engine)
{
	if (!atomic_load(&engine->speed.is_new))
		return;
	pthread_mutex_lock(&engine->speed.mutex);
	atomic_store(&engine->speed.is_new, false);
	limiter_set(&engine->limiter, engine_now_ns(), engine->speed.bandwidth,
		    engine->speed.burst);
	pthread_mutex_unlock(&engine->speed.mutex);
}

/* A round that waits for a file makes all guests wait: tests are told (io_ops.round_waits). */
struct round_judge {
	struct blocking blocking;
	struct io *io;
};

static void judge_begin(struct blocking *blocking)
{
	struct io *io = ((struct round_judge *)blocking)->io;

	io->ops->round_waits(io);
}

static void judge_nothing(struct blocking *blocking)
{
}

static void run_rounds(struct bpull_engine *engine)
{
	uint64_t now_ns, began_ns = 0;
	unsigned n, rounds = 0;
	bool goes_on;

	io_set_notify(engine->io, false);
	loop_drain_wakeups(engine);
	take_speed(engine);
	engine->loop.running = true;
	engine->loop.again = engine->loop.has_news = false;
	if (engine->loop.timer_ns && engine_now_ns() >= engine->loop.timer_ns) {
		loop_read_count(engine->loop.timer_fd);
		engine->loop.timer_ns = 0;
	}
	do {
		n = loop_reap(engine);
		op_run_ready(engine);
		now_ns = engine_now_ns();
		began_ns = rounds ? began_ns : now_ns;
		if (engine->guests.n_over != engine->guests.n_seen)
			engine->guests.last_ns = now_ns;
		engine->guests.n_seen = engine->guests.n_over;
		run_jobs(engine, now_ns);
		merge_flush(engine);
		/* If the caller sleeps next, io_wait() submits the queue: not here, too. */
		if (!engine->loop.may_sleep || n || engine->loop.has_news ||
		    engine_has_ready(engine) || !io_feed(engine->io))
			engine_submit(engine);
		goes_on = n || engine_has_ready(engine) || io_has_done(engine->io);
	} while (goes_on && !engine->loop.has_news && ++rounds < MAX_ROUNDS &&
		 now_ns - began_ns < MAX_CALL_NS);
	arm_timer(engine, now_ns);
	engine->loop.lazy = !goes_on && may_be_late(engine, now_ns);
	engine->loop.again |= goes_on;
	engine->loop.is_settled = leaves_nothing(engine);
	engine->loop.n_without_round = 0;
	engine->loop.running = false;
}

void engine_run_rounds(struct bpull_engine *engine)
{
	struct round_judge judge = {
		.blocking = { .begin = judge_begin, .end = judge_nothing, .pause = judge_nothing },
		.io = engine->io,
	};
	struct blocking *before;

	if (!engine->io->ops->round_waits) {
		run_rounds(engine);
		return;
	}
	before = blocking_set(&judge.blocking);
	run_rounds(engine);
	blocking_set(before);
}

/* All that a call for events has to do is to hand them out. */
static bool needs_no_round(const struct bpull_engine *engine)
{
	const struct engine_loop *loop = &engine->loop;

	return loop->is_settled && engine->guests.done.first && !engine->guests.n &&
	       !engine->io->n_in_flight && !loop->again && !atomic_load(&loop->woken) &&
	       loop->n_without_round < MAX_WITHOUT_ROUND;
}

void engine_run_for_events(struct bpull_engine *engine)
{
	if (needs_no_round(engine))
		engine->loop.n_without_round++;
	else
		engine_run_rounds(engine);
}

void engine_run(struct bpull_engine *engine)
{
	engine_run_rounds(engine);
	if (engine->loop.fd_asked)
		loop_arm_descriptor(engine);
}

bool engine_wait_round(struct bpull_engine *engine, uint64_t end_ns)
{
	struct engine_thread *t = &engine->thread;
	bool in_time;

	if (!t->is_on) {
		engine_wait_io(engine, engine_nap_ms(end_ns));
		engine_run(engine);
		return engine_now_ns() < end_ns;
	}
	t->n_waiters++;
	in_time = engine_sleep_on(t, &t->round, end_ns);
	t->n_waiters--;
	return in_time;
}
