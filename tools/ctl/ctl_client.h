/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The other end of a control socket, as `blockpull ctl` has it. What is wrong is said on stderr. */
#ifndef TOOLS_CTL_CLIENT_H
#define TOOLS_CTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json_object.h>

struct ctl_client {
	const char *path; /* the caller's */
	int fd;
	char *in; /* what was received, in_len bytes */
	size_t in_len;
};

/* Connects. 0 or an exit code; close it in both cases. */
int ctl_client_open(struct ctl_client *client, const char *path);
void ctl_client_close(struct ctl_client *client);
/* The next object from the other side. NULL: none came, in time or at all (*in_time: the connection
 * ended), or it was no JSON. timeout_ms 0 and more. */
struct json_object *ctl_client_receive(struct ctl_client *client, int timeout_ms, bool *in_time);
/* Sends a verb and returns what it answered: the value, or NULL with the reason said. Takes args
 * over. */
struct json_object *ctl_client_ask(struct ctl_client *client, const char *verb,
				   struct json_object *args);

#endif
