/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Events and errors on their way out. Events wait in a list until the program
 * takes them in an array: no callback, so nothing can re-enter the engine and
 * no lock is held over a stranger's code.
 */
#include "engine/core/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "io/base.h"
#include "io/fifo.h"

/* A node's are those of the disk that the program has opened. */
static struct disk_events *events_of(struct bpull_disk *disk)
{
	return &disk_opened(disk)->events;
}

int events_prepare(struct bpull_disk *disk)
{
	struct disk_events *events = events_of(disk);

	if (!events->ready)
		events->ready = calloc(1, sizeof(*events->ready));
	if (!events->end)
		events->end = calloc(1, sizeof(*events->end));
	events_prepare_stopped(disk);
	return events->ready && events->end && events->stop ? 0 : -ENOMEM;
}

void events_prepare_stopped(struct bpull_disk *disk)
{
	struct disk_events *events = events_of(disk);

	if (!events->stop)
		events->stop = calloc(1, sizeof(*events->stop));
}

void events_drop_taken(struct bpull_disk *disk)
{
	struct disk_events *events = events_of(disk);
	struct queued_event *queued;

	while ((queued = events->taken)) {
		events->taken = queued->next;
		free(queued);
	}
}

static void push(struct bpull_disk *disk, struct queued_event **slot, enum bpull_event_type type,
		 enum bpull_job_status status, int error, const char *message)
{
	struct bpull_engine *engine = disk->engine;
	struct queued_event *queued = *slot;
	bool has_failed = status == BPULL_JOB_FAILED;

	*slot = NULL;
	*queued = (struct queued_event){
		.event = {
			.type = type,
			.disk = disk_opened(disk),
			.user_data = disk_opened(disk)->user_data,
			.status = status,
			.error = error,
			.message = queued->message,
			.remedy = has_failed ? disk->job.fault.remedy : BPULL_REMEDY_NONE,
		},
	};
	snprintf(queued->message, sizeof(queued->message), "%s", message);
	FIFO_APPEND(&engine->events, queued, next);
	engine->loop.has_news = true;
	engine_notify(engine, true);
}

void events_push(struct bpull_disk *disk, enum bpull_job_status status, int error,
		 const char *message)
{
	struct disk_events *events = events_of(disk);

	push(disk, status == BPULL_JOB_READY ? &events->ready : &events->end, BPULL_EVENT_JOB,
	     status, error, message);
}

void events_push_stopped(struct bpull_disk *disk, int error, const char *message)
{
	struct disk_events *events = events_of(disk);

	if (events->stop)
		push(disk, &events->stop, BPULL_EVENT_JOB_STOPPED, BPULL_JOB_FAILED, error,
		     message);
}

void events_push_ignored(struct bpull_disk *disk, int error, const char *message)
{
	struct queued_event *queued = calloc(1, sizeof(*queued));

	if (queued)
		push(disk, &queued, BPULL_EVENT_JOB_IGNORED, BPULL_JOB_FAILED, error, message);
}

void events_push_resumed(struct bpull_disk *disk)
{
	struct queued_event *queued = calloc(1, sizeof(*queued));

	if (queued)
		push(disk, &queued, BPULL_EVENT_JOB_RESUMED, BPULL_JOB_FAILED, 0, "");
}

int events_take(struct bpull_engine *engine, struct bpull_event *out, int max)
{
	struct queued_event *queued;
	int n = 0;

	while (n < max && (queued = FIFO_TAKE(&engine->events, next))) {
		out[n++] = queued->event;
		queued->next = queued->event.disk->events.taken;
		queued->event.disk->events.taken = queued;
	}
	return n;
}

void events_forget(struct bpull_disk *disk)
{
	struct bpull_engine *engine = disk->engine;
	typeof(engine->events) all = engine->events;
	struct queued_event *queued;

	engine->events.first = engine->events.last = NULL;
	while ((queued = FIFO_TAKE(&all, next)))
		if (queued->event.disk == disk)
			free(queued);
		else
			FIFO_APPEND(&engine->events, queued, next);
	events_drop_taken(disk);
	free(disk->events.ready);
	free(disk->events.end);
	free(disk->events.stop);
	disk->events.ready = disk->events.end = disk->events.stop = NULL;
}
