/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * When each side tells the other. The guest is to ring only while the server sleeps; a queue that
 * the frontend gave no descriptor for can't ring, and the server looks at it all the time. After
 * each round the guest can see what has ended. The server rings when most of what was in flight has
 * ended, or when it has nothing else to do.
 */
#include "tools/serve/port.h"

#include "tools/cli/say.h"
#include "tools/vhost/queue.h"

void port_tell(struct port *port)
{
	for (unsigned i = 0; port->is_connected && !port->is_gone && i < port->geometry.n_queues;
	     i++)
		if (port->session.queues[i].is_prepared)
			vhost_queue_tell(&port->session.queues[i]);
}

/* Once a connection: a machine that goes on so fills no log. */
static void say_broken(struct port *port, unsigned queue)
{
	if (!port->is_told)
		say_error("the machine's ring %u makes no sense, and is left alone until it is "
			  "started anew: the machine waits for what it asked there",
			  queue);
	port->is_told = true;
}

bool port_listen(struct port *port)
{
	bool any = false;

	if (port->is_inactive || !port->is_connected)
		return false;
	for (unsigned i = 0; i < port->geometry.n_queues; i++) {
		struct vhost_queue *q = &port->session.queues[i];

		if (q->is_started && vhost_queue_make_ready(&port->session, q))
			any |= vring_listen(&q->ring);
		else if (q->is_broken)
			say_broken(port, i);
	}
	return any;
}

void port_ignore(struct port *port)
{
	if (port->is_inactive || !port->is_connected)
		return;
	for (unsigned i = 0; i < port->geometry.n_queues; i++) {
		struct vhost_queue *q = &port->session.queues[i];

		if (q->is_started && vhost_queue_make_ready(&port->session, q))
			vring_ignore(&q->ring);
	}
}

bool port_is_polled(const struct port *port)
{
	if (port->is_inactive || !port->is_connected)
		return false;
	for (unsigned i = 0; i < port->geometry.n_queues; i++)
		if (port->session.queues[i].is_started && port->session.queues[i].is_polled)
			return true;
	return false;
}
