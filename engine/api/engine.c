/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The engine: one thread's loop over completions, operations and jobs. It fits
 * into the program's own loop: bpull_engine_process() runs what can run and
 * returns; the descriptor says when to call again.
 *
 * The descriptor is an epoll of three: the backend's, a timer for the limiter
 * and the two-second commit, and an eventfd for other threads. A thread of our
 * own that calls back was rejected: an embedder would have to lock against it.
 */
#include "engine/api/engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/api/fork.h"
#include "engine/api/options/args.h"
#include "engine/api/options/structs.h"
#include "engine/api/thread.h"
#include "engine/blockpull.h"
#include "engine/core/clock.h"
#include "engine/core/convoy.h"
#include "engine/core/convoy_kept.h"
#include "engine/core/disk.h"
#include "engine/core/events.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/core/ranges/range_set.h"
#include "engine/core/rate/limiter.h"
#include "engine/guest/request.h"
#include "engine/job/round.h"
#include "formats/chain/layer_set.h"
#include "formats/core/table_cache.h"
#include "io/backends/backend.h"
#include "io/base.h"
#include "io/buf.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "io/io.h"
#include "io/posix/opener.h"

#define RING_DEPTH     256
#define DEFAULT_MEMORY (48 * MiB)
#define MIN_MEMORY     (8 * MiB)
#define MAX_BUFS       64

/* Bytes of the budget for each run in flight: a plan takes 100 KiB, and plans get a fifth of the
 * memory. Small runs share buffers (buf_shrink()), so that enough of them are in flight to hide a
 * slow source's latency: 64 runs of 64 KiB, 5 ms each, are 800 MB/s. */
#define RUN_SHARE (512 * KiB)
#define MAX_RUNS  64

#define STR_(x) #x
#define STR(x)  STR_(x)

const char *bpull_version(void)
{
	return STR(BPULL_VERSION_MAJOR) "." STR(BPULL_VERSION_MINOR) "." STR(BPULL_VERSION_PATCH);
}

/* Splits the budget into three: buffers of runs; cached tables; and a rest for commits, compressed
 * input and request arrays. */
static int open_memory(struct bpull_engine *engine, uint64_t memory)
{
	uint64_t runs = MIN(memory / 3 / RUN_MAX_LEN, (uint64_t)MAX_BUFS);
	size_t len;
	void *base;

	engine->bufs = buf_pool_new(RUN_MAX_LEN, MAX(runs, UINT64_C(2)) * RUN_MAX_LEN);
	engine->cache = table_cache_new(memory / 2);
	engine->budget.max_runs =
		(unsigned)MAX(MIN(memory / RUN_SHARE, (uint64_t)MAX_RUNS), UINT64_C(2));
	engine->budget.comp_len = memory / 6;
	engine->budget.changed_len = memory / 4;
	engine->guests.cost_limit = memory / 8;
	engine->budget.verify_len = memory / 16;
	engine->budget.n_ranges = memory / 32 / sizeof(struct range);
	engine->budget.commit_len = COMMIT_LEN;
	/* Kept ranges come on top of the budget, since few engines have convoys. member_len is 256
	 * KiB where memory is 64 MiB. */
	engine->convoys.max_len = memory / 3;
	engine->convoys.member_len = memory / 256;
	if (!engine->bufs || !engine->cache)
		return -ENOMEM;
	base = buf_pool_base(engine->bufs, &len);
	if (engine->io->ops->use_memory)
		engine->io->ops->use_memory(engine->io, base, len);
	return 0;
}

int engine_open_on(struct io *io, struct file_opener *opener, uint64_t memory,
		   struct bpull_engine **out)
{
	struct bpull_engine *engine = calloc(1, sizeof(*engine));
	int rc;

	if (!engine) {
		io_close(io);
		return -ENOMEM;
	}
	engine->io = io;
	engine_note_owner(engine);
	pthread_mutex_init(&engine->speed.mutex, NULL);
	engine->loop.wake_fd = engine->loop.timer_fd = engine->loop.epoll_fd = -1;
	rc = open_memory(engine, memory);
	if (!rc) {
		engine->layers = layer_set_new(opener, engine->cache);
		rc = engine->layers ? loop_open_descriptors(engine) : -ENOMEM;
	}
	if (rc) {
		bpull_engine_close(engine);
		return rc;
	}
	*out = engine;
	return 0;
}

int bpull_engine_open(const struct bpull_engine_options *options, struct bpull_engine **out,
		      struct bpull_error *error)
{
	struct bpull_engine_options o = { 0 };
	struct bpull_engine *engine;
	struct err err = { 0 };
	struct io *io;
	int rc;

	error_begin(error);
	if (is_missing(out, "engine", error))
		return -EINVAL;
	if (!options_import(&o, sizeof(o), options) || o.io > BPULL_IO_THREADS ||
	    o.flags & ~(uint32_t)BPULL_ENGINE_THREAD || (o.budget_opaque && !o.budget))
		return error_fill(error, -EINVAL, "unknown engine options");
	if (o.memory && o.memory < MIN_MEMORY)
		return error_fill(error, -EINVAL, "an engine needs at least 8 MiB of memory");
	rc = io_open((enum io_choice)o.io, RING_DEPTH, &io, &err);
	if (rc)
		return error_export(&err, error);
	rc = engine_open_on(io, file_opener_posix(), o.memory ? o.memory : DEFAULT_MEMORY, &engine);
	if (rc)
		return error_fill(error, rc, "cannot open the engine: %s", strerror(-rc));
	limiter_set(&engine->limiter, engine_now_ns(), o.bandwidth, o.burst);
	limiter_set(&engine->request_limiter, engine_now_ns(), o.iops, 0);
	engine->outside.ask = o.budget;
	engine->outside.opaque = o.budget_opaque;
	rc = o.flags & BPULL_ENGINE_THREAD ? engine_thread_start(engine) : 0;
	if (rc) {
		bpull_engine_close(engine);
		return error_fill(error, rc, "cannot start the engine's thread: %s", strerror(-rc));
	}
	*out = engine;
	return 0;
}

/* Takes the lock: the engine's thread rotates the list between two rounds. A node goes with the
 * disk that was opened. */
static struct bpull_disk *first_disk(struct bpull_engine *engine)
{
	ENGINE_SCOPE(engine);

	return engine->disks ? disk_opened(engine->disks) : NULL;
}

void bpull_engine_close(struct bpull_engine *engine)
{
	struct bpull_disk *disk;

	if (!engine)
		return;
	if (engine_is_forked(engine)) {
		engine_leave_to_parent(engine);
		return;
	}
	while ((disk = first_disk(engine)))
		bpull_disk_close(disk);
	engine_thread_stop(engine);
	convoys_close(&engine->convoys);
	if (engine->layers)
		layer_set_free(engine->layers);
	if (engine->cache)
		table_cache_free(engine->cache);
	io_close(engine->io);
	if (engine->bufs)
		buf_pool_free(engine->bufs);
	loop_close_fd(engine->loop.epoll_fd);
	loop_close_fd(engine->loop.timer_fd);
	loop_close_fd(engine->loop.wake_fd);
	pthread_mutex_destroy(&engine->speed.mutex);
	engine_forget_owner(engine);
	free(engine);
}

const char *bpull_engine_io_name(const struct bpull_engine *engine)
{
	return engine ? engine->io->ops->name : NULL;
}

void bpull_engine_set_speed(struct bpull_engine *engine, uint64_t bandwidth, uint64_t burst)
{
	if (!engine)
		return;
	pthread_mutex_lock(&engine->speed.mutex);
	engine->speed.bandwidth = bandwidth;
	engine->speed.burst = burst;
	atomic_store(&engine->speed.is_new, true);
	pthread_mutex_unlock(&engine->speed.mutex);
	engine_wake(engine);
}

/* The descriptor is signalled only after the program has asked for it here. */
int bpull_engine_fd(const struct bpull_engine *engine)
{
	struct bpull_engine *e = (struct bpull_engine *)engine;

	if (!e)
		return -EINVAL;
	if (!e->thread.is_on && !e->loop.fd_asked) {
		e->loop.fd_asked = true;
		loop_arm_descriptor(e);
	}
	return engine->thread.is_on ? engine->thread.event_fd : engine->loop.epoll_fd;
}

static int process(struct bpull_engine *engine, struct bpull_event *events, int max)
{
	ENGINE_SCOPE(engine);
	int n;

	if (!engine->thread.is_on)
		engine_run_for_events(engine);
	n = events_take(engine, events, max);
	n += guest_take_events(engine, events + n, max - n);
	if (!engine->events.first && !engine->guests.done.first)
		engine_notify(engine, false);
	else if (!engine->thread.is_on)
		engine->loop.again = true;
	if (engine->loop.fd_asked)
		loop_arm_descriptor(engine);
	return n;
}

int bpull_engine_process(struct bpull_engine *engine, struct bpull_event *events, int max)
{
	if (!engine || max < 0 || (max && !events) || engine_is_forked(engine))
		return -EINVAL;
	return process(engine, events, max);
}

int bpull_engine_poll(struct bpull_engine *engine, struct bpull_event *events, int max)
{
	/* Not in an engine with a thread: its descriptor is event_fd, and other threads read the
	 * flag. */
	if (engine && !engine->thread.is_on && !engine_is_forked(engine))
		engine->loop.fd_asked = false;
	return bpull_engine_process(engine, events, max);
}

/* Sleeps until there may be work, or timeout_ms have passed. */
static int wait_for_work(struct bpull_engine *engine, bool in_ring, int timeout_ms)
{
	bool has_thread = engine->thread.is_on;
	struct pollfd ready = { .fd = has_thread ? engine->thread.event_fd : engine->loop.epoll_fd,
				.events = POLLIN };

	if (!has_thread && engine->loop.again)
		return 0;
	if (in_ring && engine->loop.lazy)
		io_kick(engine->io); /* submits what was left to the call that sleeps */
	else if (in_ring)
		return io_wait(engine->io, engine->loop.epoll_fd, timeout_ms);
	if (!has_thread)
		loop_arm_backend(engine);
	return poll(&ready, 1, timeout_ms) < 0 ? -errno : 0;
}

static bool has_events(struct bpull_engine *engine)
{
	ENGINE_SCOPE(engine);

	return engine->events.first || engine->guests.done.first;
}

int bpull_engine_wait(struct bpull_engine *engine, struct bpull_event *events, int max,
		      int timeout_ms)
{
	uint64_t end_ns = timeout_ms > 0 ? engine_now_ns() + (uint64_t)timeout_ms * 1000000 : 0;
	bool may_sleep;

	if (!engine)
		return -EINVAL;
	may_sleep = !engine->thread.is_on && !engine->loop.fd_asked && timeout_ms &&
		    io_can_wait(engine->io);
	for (;;) {
		int n, left_ms = -1, rc;

		if (may_sleep) /* an engine's own thread reads wake_fd itself */
			engine->loop.may_sleep = true;
		n = bpull_engine_process(engine, events, max);
		if (may_sleep)
			engine->loop.may_sleep = false;
		if (n || (!max && has_events(engine)))
			return n;
		if (timeout_ms >= 0) {
			uint64_t now_ns = engine_now_ns();

			if (now_ns >= end_ns) {
				/* An engine's own thread submits by itself. */
				if (!engine->thread.is_on)
					io_kick(engine->io);
				return 0;
			}
			left_ms = (int)((end_ns - now_ns + 999999) / 1000000);
		}
		rc = wait_for_work(engine, may_sleep, left_ms);
		if (rc)
			return rc == -EINTR ? 0 : rc;
	}
}
