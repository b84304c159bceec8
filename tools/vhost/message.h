/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A message of the frontend's, and whether it is one: pure. */
#ifndef TOOLS_VHOST_MESSAGE_H
#define TOOLS_VHOST_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/vhost/protocol.h"

#define VHOST_HEADER_LEN  12u
#define VHOST_MAX_PAYLOAD 512u
#define VHOST_MAX_FDS     8u

struct vhost_header {
	uint32_t number, flags, len; /* len: of the payload */
};

struct vhost_message {
	struct vhost_header header;
	union {
		uint64_t u64;
		struct vhost_ring_state state;
		struct vhost_ring_addr addr;
		struct vhost_table_message table;
		struct vhost_single_region single;
		struct vhost_config_message config;
		struct vhost_log_message log;
		struct vhost_inflight_message inflight;
		struct vhost_state_message device_state;
		uint8_t bytes[VHOST_MAX_PAYLOAD];
	} payload;
	int fds[VHOST_MAX_FDS]; /* owned; -1: taken */
	unsigned n_fds;
};

/* NULL: a payload may follow this header; or half a sentence on what is wrong. Static. */
const char *vhost_header_wrong(const struct vhost_header *header);
/* The same for a message that has come as a whole: its payload and descriptors are as its number
 * wants them, and the protocol feature that it needs was acknowledged. */
const char *vhost_message_wrong(const struct vhost_message *message, uint64_t protocol_features);
/* True: its number has an answer of its own. */
bool vhost_message_is_question(const struct vhost_message *message);
/* "SET_VRING_KICK"; "?" for a number that is not known. Static. */
const char *vhost_message_name(uint32_t number);

#endif
