/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The engine's loop: its descriptors, how another thread wakes it, how it waits for the backend,
 * and the operations that can go on. What a round does for jobs and guests is above, in
 * job/round.c.
 */
#include "engine/core/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/io.h"

void engine_wake(struct bpull_engine *engine)
{
	if (atomic_exchange(&engine->loop.woken, true))
		return;
	/* A full eventfd is readable already. */
	(void)!write(engine->loop.wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
}

void engine_rerun(struct bpull_engine *engine)
{
	if (engine->loop.running || (!engine->thread.is_on && !engine->loop.fd_asked))
		engine->loop.again = true;
	else
		engine_wake(engine);
}

static int watch(int epoll_fd, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int loop_open_descriptors(struct bpull_engine *engine)
{
	int rc;

	engine->loop.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	engine->loop.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	engine->loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (engine->loop.wake_fd < 0 || engine->loop.timer_fd < 0 || engine->loop.epoll_fd < 0)
		return -errno;
	rc = watch(engine->loop.epoll_fd, io_fd(engine->io));
	if (!rc)
		rc = watch(engine->loop.epoll_fd, engine->loop.timer_fd);
	return rc ? rc : watch(engine->loop.epoll_fd, engine->loop.wake_fd);
}

void loop_close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

uint64_t loop_read_count(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

void loop_drain_wakeups(struct bpull_engine *engine)
{
	if (atomic_load(&engine->loop.woken))
		engine->loop.n_woken += atomic_exchange(&engine->loop.woken, false);
	if (engine->loop.n_woken)
		engine->loop.n_woken -= (int)loop_read_count(engine->loop.wake_fd);
}

unsigned loop_reap(struct bpull_engine *engine)
{
	struct io_req *done[64];
	unsigned n = io_reap(engine->io, done, ARRAY_LEN(done));

	for (unsigned i = 0; i < n; i++)
		op_io_done(done[i]);
	return n;
}

/* Completions that may be late are left to timer_fd, which is in the same epoll_fd. */
void loop_arm_backend(struct bpull_engine *engine)
{
	if (!engine->loop.lazy)
		io_set_notify(engine->io, true);
}

void loop_arm_descriptor(struct bpull_engine *engine)
{
	loop_arm_backend(engine);
	if (engine->loop.again || engine->events.first || engine->guests.done.first)
		engine_wake(engine);
}

void engine_wait_io(struct bpull_engine *engine, int timeout_ms)
{
	struct pollfd ready = { .fd = engine->loop.epoll_fd, .events = POLLIN };

	if (engine->loop.again)
		return;
	io_set_notify(engine->io, true);
	poll(&ready, 1, timeout_ms);
}
