/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A control socket: QEMU's QMP for one disk's jobs. The owner polls its
 * descriptors and passes the job's events on; every call is the owner's
 * thread's. Bytes become values in wire/stream.c, values answers in verbs.c, and the
 * jobs that those tell of are those of jobs/jobs.c: none of them knows of a socket.
 */
#ifndef TOOLS_CONTROL_CONTROL_H
#define TOOLS_CONTROL_CONTROL_H

#include <poll.h>

#include "engine/blockpull.h"
#include "tools/control/state/target.h"

#define CONTROL_MAX_CLIENTS 8
#define CONTROL_MAX_FDS     (1 + CONTROL_MAX_CLIENTS)

struct control;

/* Listens at the path: a socket of mode 0600. One at which no process listens any more is replaced.
 * Reads the names of the chain's files. The target is the owner's, and closed with control_close()
 * only. 0 or -errno with a sentence. */
int control_open(const char *path, struct control_target *target, struct control **out,
		 struct bpull_error *error);
/* What to poll for; returns how many, at most CONTROL_MAX_FDS. */
int control_poll_fds(const struct control *control, struct pollfd *fds);
/* How many clients there have been: between two lists that look alike a descriptor may have become
 * another client's. */
unsigned long control_n_taken(const struct control *control);
/* Takes clients, answers what has come, tells of changed states. Never blocks. */
void control_process(struct control *control);
/* Passes an event of the job on to all clients. */
void control_event(struct control *control, const struct bpull_event *event);
/* Sends what it can, ends all connections and removes the socket. NULL is allowed. */
void control_close(struct control *control);

#endif
