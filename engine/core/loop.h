/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The engine's loop: its descriptors, wake-ups and the operations that can go on. */
#ifndef BLOCKPULL_CORE_LOOP_H
#define BLOCKPULL_CORE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_engine;

/* What the engine sleeps on, and what keeps it from sleeping. */
struct engine_loop {
	int epoll_fd, timer_fd, wake_fd;
	atomic_bool woken; /* wake_fd is readable, or about to be */
	int n_woken;       /* writes to wake_fd that were announced by `woken` and not read yet */
	bool fd_asked;     /* the program may be sleeping on epoll_fd */
	bool may_sleep;    /* the caller of engine_run() sleeps next, in io_wait() */
	bool running;      /* engine_run() is on the stack */
	bool again;        /* a round is due at once, which wake_fd does not tell */
	bool has_news; /* an event or a result was given to the program since engine_run() began */
	bool lazy;     /* completions may wait for the timer: see may_be_late() in job/round.c */
	uint64_t timer_ns; /* what timer_fd is set to; 0: off */
	/* The last round left nothing for the next one: no job, no request, no time to wait for. */
	bool is_settled;
	unsigned n_without_round; /* calls for events since then that needed none */
};

/* Makes the owner run soon. Any thread. */
void engine_wake(struct bpull_engine *engine);
/* The owner asks for another round; no system call is made where no thread can be sleeping. */
void engine_rerun(struct bpull_engine *engine);
/* Before a thread sleeps on epoll_fd: has the backend signal completions there, unless they may be
 * late. */
void loop_arm_backend(struct bpull_engine *engine);
/* Sleeps until a descriptor of the engine is readable, or timeout_ms have passed; not at all if a
 * round is due at once. */
void engine_wait_io(struct bpull_engine *engine, int timeout_ms);

/* The engine's epoll, timer and wake descriptors. 0 or -errno. */
int loop_open_descriptors(struct bpull_engine *engine);

/* Closes one of the engine's descriptors; -1 is allowed. */
void loop_close_fd(int fd);

/* Reads the count of an eventfd or a timerfd; 0: there is none. */
uint64_t loop_read_count(int fd);

/* Empties wake_fd. Call it before looking at what other threads ask for, so that no wake-up is
 * lost. */
void loop_drain_wakeups(struct bpull_engine *engine);

/* Takes completions from the backend, a few at a time, and ends their requests. Returns how
 * many. */
unsigned loop_reap(struct bpull_engine *engine);

/* Before the program may sleep on epoll_fd: makes that readable for what is due already and for
 * what completes. */
void loop_arm_descriptor(struct bpull_engine *engine);

#endif
