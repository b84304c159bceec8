/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What each message does. A function returns NULL, or half a sentence on what is wrong. */
#ifndef TOOLS_VHOST_SESSION_PARTS_H
#define TOOLS_VHOST_SESSION_PARTS_H

#include "tools/vhost/session.h"

/* A message, and its answer, which begins as a copy without a payload. */
struct vhost_call {
	struct vhost_message *message;
	struct vhost_message answer;
	int answer_fd;       /* sent along and closed; -1: none */
	const char *refusal; /* what an answer of its own says no for; NULL: it does not */
};

typedef const char *vhost_part(struct vhost_session *session, struct vhost_call *call);

/* The answer is a number. */
void vhost_answer_u64(struct vhost_call *call, uint64_t value);
/* Takes over a descriptor of the message's; -1: it has none. */
int vhost_take_fd(struct vhost_message *message, unsigned i);

/* Indexed by enum vhost_number; NULL: of another table. */
extern vhost_part *const vhost_ring_parts[VHOST_N_NUMBERS];   /* session_ring.c */
extern vhost_part *const vhost_memory_parts[VHOST_N_NUMBERS]; /* session_memory.c */
extern vhost_part *const vhost_device_parts[VHOST_N_NUMBERS]; /* session_device.c */

#endif
