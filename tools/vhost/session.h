/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One frontend's device: what it has told us, from the connection to its end.
 * It knows no disk: requests are taken from its queues by the owner. One thread.
 */
#ifndef TOOLS_VHOST_SESSION_H
#define TOOLS_VHOST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/vhost/blk_config.h"
#include "tools/vhost/inflight.h"
#include "tools/vhost/memory.h"
#include "tools/vhost/message.h"
#include "tools/vhost/ring.h"

struct vhost_queue {
	unsigned index;
	struct vring ring; /* its places are NULL where its addresses lead to no memory */
	struct vhost_ring_addr addr;
	bool has_addr;
	int kick_fd, call_fd, err_fd; /* -1: none */
	bool is_started;              /* SET_VRING_KICK came; until GET_VRING_BASE */
	bool is_polled;               /* started without a descriptor: no kick will come */
	bool is_enabled;              /* by SET_VRING_ENABLE */
	bool is_prepared;             /* since it was started, its ring was looked at */
	bool is_broken;               /* its ring makes no sense; until it is started again */
	bool must_signal;             /* the last process may have died before it told the guest */
	struct inflight inflight;
	uint16_t *again; /* heads that were in flight when the last process ended, by age */
	unsigned n_again, again_at;
	void *owner; /* the owner's own */
};

struct vhost_session;

/* What the owner does for it. */
struct vhost_ops {
	/* Waits until nothing of the queue's (NULL: of any queue) is in flight, and gives the
	 * guest what has ended. */
	void (*drain)(void *opaque, struct vhost_queue *queue);
	/* Its kick_fd is new, or is about to be closed. */
	void (*watch)(void *opaque, struct vhost_queue *queue);
	void (*unwatch)(void *opaque, struct vhost_queue *queue);
	/* The frontend has stopped the last queue that was started, and waits for the answer.
	 * Nothing is in flight. Not called where a connection ends without that. */
	void (*all_stopped)(void *opaque);
};

struct vhost_session {
	const struct vhost_ops *ops;
	void *opaque;
	const struct blk_geometry *geometry;
	struct vhost_queue *queues;           /* geometry->n_queues */
	uint64_t features, protocol_features; /* as acknowledged */
	bool write_back;
	struct vhost_memory memory;
	void *inflight_map, *inflight; /* NULL: the frontend keeps none */
	size_t inflight_map_len, inflight_len;
	unsigned n_inflight_queues, inflight_size;
	void *log_map;
	uint8_t *log; /* one bit a page; NULL: none */
	size_t log_map_len, log_len;
	int backend_fd; /* for requests of our own; -1: none */
	int state_fd;   /* from which the device's state is to be loaded; -1: none */
};

/* What becomes of a connection after a message. */
enum vhost_outcome {
	VHOST_GO_ON,   /* *why: NULL, or why the message was refused */
	VHOST_HANG_UP, /* *why says why: half a sentence, as above */
};

/* A new connection's. 0 or -ENOMEM. */
int vhost_session_open(struct vhost_session *session, const struct blk_geometry *geometry,
		       const struct vhost_ops *ops, void *opaque);
/* Does what a message says, and sends the answer, if there is to be one, to answer_fd. */
enum vhost_outcome vhost_session_handle(struct vhost_session *session,
					struct vhost_message *message, int answer_fd,
					const char **why);
/* The queue that a message is to stop; NULL: it stops none. */
struct vhost_queue *vhost_session_stops(struct vhost_session *session,
					const struct vhost_message *message);
/* Nothing may be in flight any more. */
void vhost_session_close(struct vhost_session *session);
/* Tells the frontend that the configuration space has changed, where it wants to know. */
void vhost_session_config_changed(struct vhost_session *session);

#endif
