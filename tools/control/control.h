/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A control socket: QEMU's QMP for one disk's jobs. The owner polls its
 * descriptors and passes the job's events on; every call is the owner's
 * thread's. Bytes become values in stream.c, values answers in
 * verbs.c, and the jobs that those tell of are jobs.c's: none
 * of them knows of a socket.
 */
#ifndef TOOLS_CONTROL_CONTROL_H
#define TOOLS_CONTROL_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include <json-c/json_object.h>

#include "engine/blockpull.h"
#include "tools/words/job_json.h"

#define CONTROL_MAX_CLIENTS 8
#define CONTROL_MAX_FDS     (1 + CONTROL_MAX_CLIENTS)

/* One file of the chain, under the name that clients call it by: "#layer0" is the image, and a name
 * keeps leading to its file when jobs make the chain shorter. */
struct control_node {
	char name[24];
	char *path; /* as it was opened */
	enum bpull_format format;
	uint64_t virtual_size;
	uint32_t cluster_size;
	bool is_encrypted;
};

/* A job as QMP's clients see it. */
struct control_job {
	struct control_job *next; /* an older one */
	char *id;
	const char *status; /* JobStatus as it was told last; static */
	bool auto_finalize, auto_dismiss;
	uint32_t on_error;
	bool is_user_paused; /* by a verb or an error, and not resumed */
	bool is_resuming;    /* resumed, while the engine may still say PAUSED */
	bool is_held;        /* it had nothing to do, and waits to be finalized */
	struct job_since since;
	/* Where it has ended: */
	struct bpull_job_info end;
	char error[1024]; /* as QMP has it; "": it completed */
	char why[1024];   /* the library's sentence, of an error that stopped it, too; or "" */
};

/* The disk that is served. */
struct control_target {
	/* The owner's, set before control_open(). */
	struct bpull_disk *disk; /* NULL: not open yet, or not any more */
	const char *device;      /* its name on the wire: the image's as it was given */
	const char *path;        /* of the image, as it is opened */
	const struct bpull_disk_options *how; /* it is opened; NULL: all defaults */
	struct bpull_job_options job;         /* what block-stream leaves open */
	bool stays;                           /* the disk is served on when a job is over */
	/* jobs.c's and nodes.c's: all zero at first. */
	struct control_job *jobs, *active; /* active: one of them has not ended; or NULL */
	struct json_object *last;          /* what x-query-job says of the job that ended last */
	struct control_node *nodes;
	unsigned n_nodes;
	struct json_object *news; /* events not taken yet: an array, or NULL */
};

struct control;

/* Listens at the path: a socket of mode 0600. One at which no process listens any more is replaced.
 * Reads the names of the chain's files. The target is the owner's, and closed with control_close()
 * only. 0 or -errno with a sentence. */
int control_open(const char *path, struct control_target *target, struct control **out,
		 struct bpull_error *error);
/* Whether control_open() would work, as far as that can be known: makes the socket and removes it.
 * Never listens: a client that came meanwhile would be hung up on. */
int control_try(const char *path, struct bpull_error *error);
/* What to poll for; returns how many, at most CONTROL_MAX_FDS. */
int control_poll_fds(const struct control *control, struct pollfd *fds);
/* Takes clients, answers what has come, tells of changed states. Never blocks. */
void control_process(struct control *control);
/* Passes an event of the job on to all clients. */
void control_event(struct control *control, const struct bpull_event *event);
/* Sends what it can, ends all connections and removes the socket. NULL is allowed. */
void control_close(struct control *control);

/* queries.c: the first object of a connection. */
struct json_object *control_greeting(void);

/* verbs.c */
/* The answer to one request (NULL: the JSON value null), never NULL but for want of memory.
 * *negotiated is the connection's. What follows from the request is in the target's events. */
struct json_object *control_answer(struct control_target *target, bool *negotiated,
				   struct json_object *request);

/* jobs.c */
/* The owner has started a job with these options; clients know it by the device's name. Without
 * memory for it they see none. */
void control_job_started(struct control_target *target, const struct bpull_job_options *options);
/* The same for a verb, which makes the job before it starts it: NULL without memory. */
struct control_job *control_job_new(const char *id);
void control_job_begin(struct control_target *target, struct control_job *job);
void control_job_free(struct control_job *job); /* one that was not begun; NULL is allowed */
struct control_job *control_job_find(const struct control_target *target, const char *id);
/* What the library says of it, now or at its end. */
struct bpull_job_info control_job_info(const struct control_target *target,
				       const struct control_job *job);
/* Looks whether it was paused, or goes on, without an event of the library's. */
void control_job_look(struct control_target *target);
/* It is told to go on. */
void control_job_resumed(struct control_target *target, struct control_job *job);
/* Ends a job that is held. */
void control_job_release(struct control_target *target, struct control_job *job, bool completes);
/* Takes one that has ended off the list. */
void control_job_dismiss(struct control_target *target, struct control_job *job);
/* What the event means to clients. */
void control_job_event(struct control_target *target, const struct bpull_event *event);
/* The job that runs, or ended last, in the words of the command's JSON; NULL: there was none. */
struct json_object *control_job_report(const struct control_target *target);
/* The next event on its way to clients, which the caller puts; NULL: no more. */
struct json_object *control_take_news(struct control_target *target);
/* Frees what the target has of ours. */
void control_forget(struct control_target *target);

/* events.c: the objects on the wire; a data object is taken over. */
void control_tell(struct control_target *target, const char *event, struct json_object *data);
void control_tell_status(struct control_target *target, struct control_job *job,
			 const char *status);
void control_tell_end(struct control_target *target, const struct control_job *job,
		      const char *event, const char *error);
void control_tell_pending(struct control_target *target, const struct control_job *job);
void control_tell_error(struct control_target *target, const struct control_job *job, bool was_read,
			const char *action, const char *message);
void control_add_text(struct json_object *object, const char *key, const char *text);
void control_add_number(struct json_object *object, const char *key, uint64_t value);
void control_add_bool(struct json_object *object, const char *key, bool value);

/* nodes.c */
/* Reads the chain's names, blocking; none are known where it can't be read. */
void control_nodes_open(struct control_target *target);
void control_nodes_close(struct control_target *target);
/* Its depth in the chain as it is now; NULL: no such node, or not in the chain any more. */
const struct control_node *control_node_find(const struct control_target *target, const char *name,
					     uint32_t *depth);
/* The next one below that depth; NULL: there is none. */
const struct control_node *control_node_below(const struct control_target *target, uint32_t depth);
/* query-named-block-nodes' list. */
struct json_object *control_nodes_describe(const struct control_target *target);

#endif
