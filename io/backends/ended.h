/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Requests that a thread has ended and their owner has not taken yet. The first one tells the owner
 * by an eventfd (wake.h), who takes all that it finds.
 */
#ifndef BLOCKPULL_IO_BACKENDS_ENDED_H
#define BLOCKPULL_IO_BACKENDS_ENDED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "io/req_list.h"

struct ended {
	int wake_fd;
	pthread_mutex_t *lock; /* of the struct that this is in; guards what is below */
	struct req_list list;
	bool quiet;          /* the owner looks by itself */
	atomic_bool has_any; /* something is in `list`: read without the lock */
};

void ended_init(struct ended *ended, pthread_mutex_t *lock, int wake_fd);
/* The caller holds the lock. */
void ended_add(struct ended *ended, struct io_req *req);
/* Switches the signals of wake_fd on or off; they are on at first. Switched on, it signals at once
 * if requests have ended meanwhile. */
void ended_set_notify(struct ended *ended, bool on);
/* Moves at most max of the requests into out; returns how many. */
unsigned ended_take(struct ended *ended, struct io_req **out, unsigned max);

#endif
