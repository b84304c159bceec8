/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One table says what each request carries. A request that is not in it ends
 * the connection: its answer would not be known either, and a frontend that
 * waited for one would wait for ever. None is needed that was not offered.
 */
#include "tools/vhost/message.h"

#include <stddef.h>

#define NO_FEATURE 64

struct rule {
	const char *name;
	uint16_t min_len, max_len; /* of the payload */
	uint8_t min_fds, max_fds;
	uint8_t feature; /* bit of the protocol feature that it needs */
	bool is_question;
};

#define REGION_LEN sizeof(struct vhost_region_message)
#define TABLE_LEN  sizeof(struct vhost_table_message)

static const struct rule message_rules[VHOST_N_NUMBERS] = {
	[VHOST_GET_FEATURES] = { "GET_FEATURES", 0, 0, 0, 0, NO_FEATURE, true },
	[VHOST_SET_FEATURES] = { "SET_FEATURES", 8, 8, 0, 0, NO_FEATURE, false },
	[VHOST_SET_OWNER] = { "SET_OWNER", 0, 0, 0, 0, NO_FEATURE, false },
	[VHOST_RESET_OWNER] = { "RESET_OWNER", 0, 0, 0, 0, NO_FEATURE, false },
	[VHOST_SET_MEM_TABLE] = { "SET_MEM_TABLE", 8, TABLE_LEN, 0, VHOST_TABLE_REGIONS, NO_FEATURE,
				  false },
	[VHOST_SET_LOG_BASE] = { "SET_LOG_BASE", 16, 16, 1, 1, VHOST_PROTOCOL_LOG_SHMFD, true },
	[VHOST_SET_LOG_FD] = { "SET_LOG_FD", 0, 8, 0, 1, NO_FEATURE, false },
	[VHOST_SET_VRING_NUM] = { "SET_VRING_NUM", 8, 8, 0, 0, NO_FEATURE, false },
	[VHOST_SET_VRING_ADDR] = { "SET_VRING_ADDR", 40, 40, 0, 0, NO_FEATURE, false },
	[VHOST_SET_VRING_BASE] = { "SET_VRING_BASE", 8, 8, 0, 0, NO_FEATURE, false },
	[VHOST_GET_VRING_BASE] = { "GET_VRING_BASE", 8, 8, 0, 0, NO_FEATURE, true },
	[VHOST_SET_VRING_KICK] = { "SET_VRING_KICK", 8, 8, 0, 1, NO_FEATURE, false },
	[VHOST_SET_VRING_CALL] = { "SET_VRING_CALL", 8, 8, 0, 1, NO_FEATURE, false },
	[VHOST_SET_VRING_ERR] = { "SET_VRING_ERR", 8, 8, 0, 1, NO_FEATURE, false },
	[VHOST_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", 0, 0, 0, 0, NO_FEATURE, true },
	[VHOST_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", 8, 8, 0, 0, NO_FEATURE, false },
	[VHOST_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", 0, 0, 0, 0, NO_FEATURE, true },
	[VHOST_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", 8, 8, 0, 0, NO_FEATURE, false },
	[VHOST_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", 0, 8, 1, 1, VHOST_PROTOCOL_BACKEND_REQ,
				       false },
	[VHOST_GET_CONFIG] = { "GET_CONFIG", VHOST_CONFIG_HEAD,
			       VHOST_CONFIG_HEAD + VHOST_MAX_CONFIG, 0, 0, VHOST_PROTOCOL_CONFIG,
			       true },
	[VHOST_SET_CONFIG] = { "SET_CONFIG", VHOST_CONFIG_HEAD,
			       VHOST_CONFIG_HEAD + VHOST_MAX_CONFIG, 0, 0, VHOST_PROTOCOL_CONFIG,
			       false },
	[VHOST_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", VHOST_INFLIGHT_LEN,
				    sizeof(struct vhost_inflight_message), 0, 0,
				    VHOST_PROTOCOL_INFLIGHT_SHMFD, true },
	[VHOST_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", VHOST_INFLIGHT_LEN,
				    sizeof(struct vhost_inflight_message), 1, 1,
				    VHOST_PROTOCOL_INFLIGHT_SHMFD, false },
	[VHOST_RESET_DEVICE] = { "RESET_DEVICE", 0, 8, 0, 0, VHOST_PROTOCOL_RESET_DEVICE, false },
	[VHOST_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", 0, 0, 0, 0,
				      VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS, true },
	[VHOST_ADD_MEM_REG] = { "ADD_MEM_REG", 8 + REGION_LEN, 8 + REGION_LEN, 1, 1,
				VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS, false },
	/* Some send the region's descriptor along. */
	[VHOST_REM_MEM_REG] = { "REM_MEM_REG", 8 + REGION_LEN, 8 + REGION_LEN, 0, 1,
				VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS, false },
	[VHOST_SET_DEVICE_STATE_FD] = { "SET_DEVICE_STATE_FD", 8, 8, 1, 1,
					VHOST_PROTOCOL_DEVICE_STATE, true },
	[VHOST_CHECK_DEVICE_STATE] = { "CHECK_DEVICE_STATE", 0, 0, 0, 0,
				       VHOST_PROTOCOL_DEVICE_STATE, true },
};

static const struct rule *message_rule(uint32_t number)
{
	return number < VHOST_N_NUMBERS && message_rules[number].name ? &message_rules[number]
								      : NULL;
}

const char *vhost_header_wrong(const struct vhost_header *header)
{
	const struct rule *rule = message_rule(header->number);

	if ((header->flags & VHOST_VERSION_MASK) != VHOST_VERSION)
		return "it is of another version of the protocol";
	if (header->flags & VHOST_REPLY)
		return "it is an answer";
	if (!rule)
		return "a request that was not offered";
	if (header->len < rule->min_len || header->len > rule->max_len)
		return "its length is wrong";
	return NULL;
}

/* What the payload says of its length is compared with the header. */
static const char *message_len_wrong(const struct vhost_message *m)
{
	uint32_t len = m->header.len;

	if (m->header.number == VHOST_SET_MEM_TABLE) {
		if (m->payload.table.n > VHOST_TABLE_REGIONS)
			return "it has too many regions";
		/* The rest of the array may be sent with it. */
		if (len < 8 + m->payload.table.n * REGION_LEN)
			return "its length is wrong";
		if (m->n_fds != m->payload.table.n)
			return "it has not a descriptor for each region";
	}
	if (m->header.number == VHOST_SET_CONFIG &&
	    m->payload.config.len != len - VHOST_CONFIG_HEAD)
		return "its length is wrong";
	return NULL;
}

const char *vhost_message_wrong(const struct vhost_message *m, uint64_t protocol_features)
{
	const char *why = vhost_header_wrong(&m->header);
	const struct rule *rule;

	if (why)
		return why;
	rule = message_rule(m->header.number);
	if (m->n_fds < rule->min_fds)
		return "a descriptor is missing";
	if (m->n_fds > rule->max_fds)
		return "it has too many descriptors";
	if (rule->feature != NO_FEATURE && !(protocol_features & VHOST_BIT(rule->feature)))
		return "its protocol feature was not acknowledged";
	return message_len_wrong(m);
}

bool vhost_message_is_question(const struct vhost_message *m)
{
	const struct rule *rule = message_rule(m->header.number);

	return rule && rule->is_question;
}

const char *vhost_message_name(uint32_t number)
{
	const struct rule *rule = message_rule(number);

	return rule ? rule->name : "?";
}
