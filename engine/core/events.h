/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The queue of events that the program takes. */
#ifndef BLOCKPULL_CORE_EVENTS_H
#define BLOCKPULL_CORE_EVENTS_H

#include "engine/blockpull.h"
#include "io/base.h"

struct bpull_disk;
struct bpull_engine;

struct queued_event {
	struct bpull_event event;
	char message[1024]; /* event.message points here */
	struct queued_event *next;
};

/* A disk's. A job has at most one event of each of the first three kinds. Their memory is set aside
 * when the job starts, so that none is lacking later. NULL: the event was queued. */
struct disk_events {
	struct queued_event *ready, *end, *stop;
	struct queued_event *taken; /* a list: the program may still read their messages */
};

/* Sets memory for a new job's events aside. 0 or -ENOMEM. */
int events_prepare(struct bpull_disk *disk);
/* Frees the events that were taken; those still queued stay. */
void events_drop_taken(struct bpull_disk *disk);
/* Queues a job event; the message is copied. */
void events_push(struct bpull_disk *disk, enum bpull_job_status status, int error,
		 const char *message);
/* Sets memory aside for the next stop's event; without memory the program gets no such event. */
void events_prepare_stopped(struct bpull_disk *disk);
void events_push_stopped(struct bpull_disk *disk, int error, const char *message);
/* Queues the event of a range that was left out; without memory the program gets no such event. */
void events_push_ignored(struct bpull_disk *disk, int error, const char *message);
/* Queues the event that the job goes on by itself; without memory the program gets none. */
void events_push_resumed(struct bpull_disk *disk);
/* Moves at most max events to `out`; returns how many. Their messages stay valid until
 * events_drop_taken() of their disk. */
int events_take(struct bpull_engine *engine, struct bpull_event *out, int max);
/* Frees all of a disk's events, taken or not. */
void events_forget(struct bpull_disk *disk);

#endif
