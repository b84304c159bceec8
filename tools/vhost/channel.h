/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A connection to a frontend: bytes and descriptors in and out. */
#ifndef TOOLS_VHOST_CHANNEL_H
#define TOOLS_VHOST_CHANNEL_H

#include <stddef.h>

#include "tools/vhost/message.h"

struct vhost_channel {
	int fd;      /* the owner's */
	size_t have; /* bytes of the message that have come */
	struct vhost_message message;
};

enum vhost_received {
	VHOST_NOTHING,  /* no whole message yet */
	VHOST_MESSAGE,  /* channel->message */
	VHOST_END,      /* the frontend has gone */
	VHOST_NO_SENSE, /* what came is no message; *why is half a sentence */
};

/* Takes what has come, without waiting. Of a message taken the descriptors that are left are to be
 * closed by vhost_channel_done(). */
enum vhost_received vhost_channel_receive(struct vhost_channel *channel, const char **why);
/* Closes the descriptors that were not taken; the next message may come. */
void vhost_channel_done(struct vhost_channel *channel);
/* Sends a message, and a descriptor with it (-1: none). A frontend that does
 * not read for a second has gone. 0 or -errno. */
int vhost_channel_send(int fd, const struct vhost_message *message, int with_fd);

#endif
