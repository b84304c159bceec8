/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * When the guest is to ring: only while the server sleeps. A queue that the
 * frontend gave no descriptor for can't ring, and is looked at all the time.
 */
#include "tools/serve/port.h"
#include "tools/vhost/queue.h"

bool port_listen(struct port *port)
{
	bool any = false;

	if (port->is_inactive || !port->is_connected)
		return false;
	for (unsigned i = 0; i < port->geometry.n_queues; i++) {
		struct vhost_queue *q = &port->session.queues[i];

		if (q->is_started && vhost_queue_runs(&port->session, q))
			any |= vring_listen(&q->ring);
	}
	return any;
}

void port_ignore(struct port *port)
{
	if (port->is_inactive || !port->is_connected)
		return;
	for (unsigned i = 0; i < port->geometry.n_queues; i++) {
		struct vhost_queue *q = &port->session.queues[i];

		if (q->is_started && vhost_queue_runs(&port->session, q))
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
