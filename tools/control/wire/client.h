/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One connection of the control socket: bytes in, answers and events out. Nothing here blocks. */
#ifndef TOOLS_CONTROL_CLIENT_H
#define TOOLS_CONTROL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json_object.h>

#include "tools/control/wire/handed.h"
#include "tools/control/wire/stream.h"

struct control_client {
	int fd;        /* -1: free */
	bool has_gone; /* and its owner has not noted that yet */
	bool negotiated;
	struct control_handed handed;
	char in[4096]; /* received, [in_at, in_len) not looked at */
	size_t in_at, in_len;
	struct control_stream stream;
	char *out; /* out_cap bytes, [out_at, out_len) on their way; NULL: there is nothing */
	size_t out_at, out_len, out_cap;
};

/* Takes over the descriptor. Without memory the client is free as before, and the descriptor
 * closed. */
void control_client_open(struct control_client *client, int fd);
/* Ends the connection; the client is free then. */
void control_client_drop(struct control_client *client);
/* Sends what can be sent now. Like the two below it drops a client that has gone, or that leaves
 * too much unread. */
void control_client_flush(struct control_client *client);
/* Queues a line, and sends what can be sent; takes over the reference. */
void control_client_say(struct control_client *client, struct json_object *value);
/* Receives the next bytes, where all that had come was looked at, and, if it takes any, a
 * descriptor, in the place of one that no request has taken. False: there are none now. */
bool control_client_receive(struct control_client *client, bool takes_files);
/* It leaves so much unread that it is not listened to. */
bool control_client_is_behind(const struct control_client *client);

#endif
