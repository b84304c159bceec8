/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A control socket: JSON lines in QMP's dialect, for one disk's job. The owner
 * polls its descriptors and passes the job's events on; every call is the
 * owner's thread's. control_verbs.c is the part without a socket: bytes in,
 * bytes out.
 */
#ifndef TOOLS_CONTROL_H
#define TOOLS_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"

#define CONTROL_MAX_CLIENTS 8
#define CONTROL_MAX_FDS     (1 + CONTROL_MAX_CLIENTS)
#define CONTROL_MAX_LINE    65536u

/* The disk that is served, and what was last told of its job. */
struct control_target {
	struct bpull_disk *disk;      /* NULL: not open any more */
	const char *device;           /* its name on the wire, the owner's */
	struct bpull_job_options job; /* defaults for block-stream */
	struct bpull_job_info last;   /* of a disk that was closed */
	const char *told;             /* job status told last; static, or NULL */
	char error[1024];             /* of a job that failed */
};

struct control;

/* Listens at the path: a socket of mode 0600. One that nobody listens at any more is replaced. The target
 * is the owner's. 0 or -errno with a sentence. */
int control_open(const char *path, struct control_target *target, struct control **out,
		 struct bpull_error *error);
/* What to poll for; returns how many, at most CONTROL_MAX_FDS. */
int control_poll_fds(const struct control *control, struct pollfd *fds);
/* Takes clients, answers what has come, tells of changed states. Never blocks. */
void control_process(struct control *control);
/* Passes an event of the job on to all clients. */
void control_event(struct control *control, const struct bpull_event *event);
/* Sends what it can, ends all connections and removes the socket. NULL is allowed. */
void control_close(struct control *control);

/* control_verbs.c */
/* The first line of a connection. */
struct json_object *control_greeting(void);
/* The answer to one line, never NULL but for want of memory. *negotiated is the connection's. */
struct json_object *control_answer(struct control_target *target, bool *negotiated,
				   const char *line, size_t len);
/* For the events' file: members, and what the target's job is. */
void control_add_text(struct json_object *object, const char *key, const char *text);
void control_add_number(struct json_object *object, const char *key, uint64_t value);
void control_add_bool(struct json_object *object, const char *key, bool value);
struct bpull_job_info control_job_info(const struct control_target *target);
/* QMP's JobStatus. Static. */
const char *control_status_word(const struct bpull_job_info *info);

/* control_events.c */
/* The event on the wire, or NULL where there is none for it. */
struct json_object *control_describe(struct control_target *target,
				     const struct bpull_event *event);
/* JOB_STATUS_CHANGE, if the job's state is another than last told; else NULL. */
struct json_object *control_status_change(struct control_target *target);

#endif
