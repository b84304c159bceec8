/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests to the library that are the server's own, while the guest's go on. */
#include <stdio.h>
#include <string.h>

#include "tools/serve/port.h"

#define BESIDE_MS 1 /* between two looks at rings, while something else is waited for */

int port_resize(struct port *port, uint64_t len, struct bpull_error *error)
{
	int rc;

	port->resize.is_over = false;
	rc = bpull_disk_resize(port->disk, len, &port->resize, error);
	if (rc)
		return rc;
	while (!port->resize.is_over) {
		port_wait(port, -1);
		port_publish(port);
		port_tell(port);
	}
	if (port->resize.error) {
		error->code = port->resize.error;
		snprintf(error->message, sizeof(error->message),
			 "the size could not be changed: %s", strerror(-error->code));
		return error->code;
	}
	port->geometry.len = bpull_disk_size(port->disk);
	durable_lengthen(&port->durable, port->geometry.len);
	if (port->is_connected)
		vhost_session_config_changed(&port->session);
	return 0;
}

/* A disk without writers has nothing to flush: it is over at once. */
static void port_begin_flush(struct port *port)
{
	port->flush = (struct port_own){ .is_over = port->is_inactive || port->geometry.read_only };
	if (!port->flush.is_over)
		bpull_flush(port->disk, &port->flush);
}

int port_flush(struct port *port)
{
	port_begin_flush(port);
	while (!port->flush.is_over)
		port_wait(port, -1);
	return port->flush.error;
}

void port_flush_beside(struct port *port)
{
	port_begin_flush(port);
	while (!port->flush.is_over) {
		bool any = port_take_requests(port);

		any |= port_take_events(port);
		port_publish(port);
		port_tell(port);
		/* Kicks are not waited for: rings are looked at this often. */
		if (!any)
			port_wait(port, BESIDE_MS);
	}
}
