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
	int n_woken;       /* writes to wake_fd that were announced and not read yet */
	bool fd_asked;     /* the program may be waiting for the descriptor */
	bool may_sleep;    /* its caller sleeps next if there is nothing to do, in io_wait() */
	bool running;      /* in engine_run() */
	bool again;        /* there is something to do at once, and wake_fd does not say so */
	bool has_news;     /* the program has got something since engine_run() began */
	bool lazy; /* what completes may wait for the timer: see may_be_late() in job/round.c */
	uint64_t timer_ns; /* what timer_fd is set to; 0: off */
};

/* Makes the owner run soon. Any thread. */
void engine_wake(struct bpull_engine *engine);
/* The owner asks itself for another engine_run(), without a system call where no thread sleeps. */
void engine_rerun(struct bpull_engine *engine);
/* Before a thread sleeps on the backend's descriptor: has the backend signal it, unless completions
 * may be late. */
void engine_arm_notify(struct bpull_engine *engine);
void engine_wait_io(struct bpull_engine *engine, int timeout_ms);
/* A guest is at work, or was so within the last 10 ms. */
bool engine_guest_is_active(const struct bpull_engine *engine);
/* One has wanted bytes of a source within the last second. */
bool engine_guest_needs_sources(const struct bpull_engine *engine);

/* The engine's epoll, timer and wake descriptors. 0 or -errno. */
int loop_open_descriptors(struct bpull_engine *engine);

/* Closes one of the engine's descriptors; -1 is allowed. */
void loop_close_fd(int fd);

/* Reads the count of an eventfd or a timerfd; 0: there is none. */
uint64_t loop_read_count(int fd);

/* Takes what other threads wrote to wake_fd; the owner looks at what they ask for afterwards. */
void loop_drain_wakeups(struct bpull_engine *engine);

/* Takes completions from the backend, a few at a time, and ends their requests. Returns how
 * many. */
unsigned loop_reap(struct bpull_engine *engine);

/* Before the program may sleep on the engine's descriptor: has it signalled for what is due and for
 * what comes. */
void loop_arm_notify(struct bpull_engine *engine);

#endif
