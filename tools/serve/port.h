/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Between a session's queues and the library's disk: requests there, ends back. One thread. */
#ifndef TOOLS_SERVE_PORT_H
#define TOOLS_SERVE_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/serve/durable.h"
#include "tools/trace/record.h"
#include "tools/vhost/blk.h"
#include "tools/vhost/session.h"

struct port {
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	const char *serial;
	struct blk_geometry geometry;
	struct durable durable;
	struct record record; /* what the machine touches */
	struct vhost_session session;
	bool is_connected; /* the session is open */
	bool is_inactive;  /* so is the disk: requests stay in their rings */
	bool is_held;      /* the frontend stops a ring whose requests need the disk first */
	bool is_gone;      /* the frontend has left: the guest's memory is left as it is */
	bool is_told;      /* the operator was told that a ring makes no sense */
	bool has_taken;    /* requests, since port_take_events() looked */
	bool is_slow;      /* no request of those that were taken last ended at once */
	unsigned n_in_flight;
	/* Requests that are not the guest's, which have these as user_data. */
	struct port_own {
		bool is_over;
		int error;
	} resize, flush;
	struct vhost_chain chain; /* of the request that is being taken */
	/* Takes events of the library that are no request's. */
	void (*other_event)(void *opaque, const struct bpull_event *event);
	/* The frontend has stopped its last ring: as struct vhost_ops has it. */
	void (*rings_stopped)(void *opaque);
	void *opaque;
};

/* Takes what the engine has ready. True: there was something. */
bool port_take_events(struct port *port);
/* Waits so long for events of the engine (-1: without end), and takes them. */
void port_wait(struct port *port, int timeout_ms);
/* A ring would run if the disk were active. */
bool port_wants_disk(const struct port *port);
/* True: before the frontend's message is heard the disk must be active, as requests that the last
 * process left would be lost with the ring that it stops. */
bool port_must_hold(struct port *port, const struct vhost_message *message);
/* Takes requests from all queues that run. True: there were some. */
bool port_take_requests(struct port *port);
/* Shows the guest what has ended; it may be told later, by port_tell(). */
void port_publish(struct port *port);
/* Tells the guest of all that it was shown. Before anything that waits. */
void port_tell(struct port *port);
/* Asks for kicks of all queues; true: there is something to do already. */
bool port_listen(struct port *port);
void port_ignore(struct port *port);
/* A queue was started without a descriptor for its kicks: it is looked at all the time. */
bool port_is_polled(const struct port *port);
/* Waits for what is in flight of a queue (NULL: of all), as struct vhost_ops wants it. */
void port_drain(struct port *port, struct vhost_queue *queue);
/* Makes the disk len bytes long, waits for it, and tells the guest. Requests in flight go on
 * meanwhile. 0, or -errno with a sentence. */
int port_resize(struct port *port, uint64_t len, struct bpull_error *error);
/* Makes what was written so far durable, and waits for it. 0 or -errno. */
int port_flush(struct port *port);
/* Makes what was written so far durable, and serves the guest meanwhile: requests of its rings
 * begin and end, and what the owner is to know is told to it. Before a call that holds the guest
 * until all is durable: how a flush ends is for that call to say. */
void port_flush_beside(struct port *port);
/* Frees what the queues of a closed connection had. Before vhost_session_close(). */
void port_disconnect(struct port *port);

#endif
