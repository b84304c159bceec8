/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A start of a device with a request in its ring; rings with requests of each kind. */
#include "tests/fuzz/vhost_seeds.h"

#include <string.h>

#include "tools/vhost/protocol.h"

#define USER 0x10000000u

struct script {
	uint8_t bytes[8192];
	size_t len;
};

static void script_add(struct script *s, uint8_t number, uint8_t flags, const void *payload,
		       uint8_t len)
{
	const uint8_t head[3] = { number, flags, len };

	memcpy(s->bytes + s->len, head, sizeof(head));
	if (len)
		memcpy(s->bytes + s->len + sizeof(head), payload, len);
	s->len += sizeof(head) + len;
}

static void script_u64(struct script *s, uint8_t number, uint8_t flags, uint64_t value)
{
	script_add(s, number, flags, &value, sizeof(value));
}

static void script_state(struct script *s, uint8_t number, uint32_t num)
{
	const struct vhost_ring_state state = { 0, num };

	script_add(s, number, 0, &state, sizeof(state));
}

/* A ring of eight with one request, in the first 16 KiB of memory. */
static void put_ring(uint8_t *memory, uint32_t type, uint16_t flags)
{
	const struct vring_desc desc[3] = { { 12288, 16, VRING_NEXT, 1 },
					    { 12304, 512, VRING_NEXT | flags, 2 },
					    { 12816, 1, VRING_WRITE, 0 } };
	const uint16_t avail[3] = { 0, 1, 0 };

	memset(memory, 0, 12288 + 64);
	memcpy(memory, desc, sizeof(desc));
	memcpy(memory + 1024, avail, sizeof(avail));
	memcpy(memory + 4096, avail, sizeof(avail));
	memcpy(memory + 12288, &type, sizeof(type));
	memory[12304 + 8] = 8;
}

static void message_seeds(vhost_seed *put, uint64_t features, const char *name)
{
	const struct vhost_table_message table = { 1, 0, { { 0, 65536, USER, 0 } } };
	const struct vhost_ring_addr addr = { .desc = USER,
					      .avail = USER + 1024,
					      .used = USER + 2048 };
	const struct vhost_inflight_message inflight = { 4096, 4096, 1, 8, { 0 } };
	const struct vhost_config_message config = { 0, 60, 0, { 0 } };
	struct script s = { .len = 0 };
	uint8_t memory[16384];

	put_ring(memory, 0, VRING_WRITE);
	s.bytes[0] = 160;
	memcpy(s.bytes + 1, memory, 160 * 16);
	s.len = 1 + 160 * 16;
	script_u64(&s, VHOST_SET_PROTOCOL_FEATURES, 0, VHOST_PROTOCOL_OFFERED);
	script_add(&s, VHOST_GET_FEATURES, 0, NULL, 0);
	script_add(&s, VHOST_GET_CONFIG, 0, &config, 72);
	script_u64(&s, VHOST_SET_FEATURES, 16, features);
	script_add(&s, VHOST_SET_MEM_TABLE, 1, &table, 40);
	script_add(&s, VHOST_GET_INFLIGHT_FD, 0, &inflight, 20);
	script_add(&s, VHOST_SET_INFLIGHT_FD, 1, &inflight, 20);
	script_state(&s, VHOST_SET_VRING_NUM, 8);
	script_state(&s, VHOST_SET_VRING_BASE, 0);
	script_add(&s, VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr));
	script_u64(&s, VHOST_SET_VRING_CALL, 9, 0);
	script_u64(&s, VHOST_SET_VRING_KICK, 9, 0);
	script_state(&s, VHOST_SET_VRING_ENABLE, 1);
	script_add(&s, VHOST_SET_LOG_BASE, 1, &inflight, 16);
	script_add(&s, VHOST_SET_CONFIG, 0, &config, 72);
	script_state(&s, VHOST_GET_VRING_BASE, 0);
	script_add(&s, VHOST_RESET_DEVICE, 0, NULL, 0);
	put("vhost_messages", name, s.bytes, s.len);
}

/* Memory by slots, the messages that only some frontends send, and a device's state. */
static void other_seeds(vhost_seed *put)
{
	const struct vhost_single_region region = { 0, { 0, 32768, USER, 0 } };
	const struct vhost_single_region other = { 0, { 65536, 32768, 2 * USER, 32768 } };
	const struct vhost_ring_addr addr = {
		.desc = USER, .avail = USER + 1024, .used = USER + 2048, .flags = 1, .log = 8192
	};
	const struct vhost_log_message log = { 4096, 0 };
	const struct vhost_state_message save = { VHOST_STATE_SAVE, 0 },
					 load = { VHOST_STATE_LOAD };
	/* What a device saved is what the pipe holds, and begins the guest's memory, too. */
	const uint8_t state[16] = { 'b', 'l', 'v', 's', 1, 0, 0, 0, 1 };
	struct script s = { .len = 0 };

	s.bytes[0] = 1;
	memcpy(s.bytes + 1, state, sizeof(state));
	s.len = 1 + sizeof(state);
	script_add(&s, VHOST_SET_OWNER, 0, NULL, 0);
	script_add(&s, VHOST_GET_PROTOCOL_FEATURES, 0, NULL, 0);
	script_u64(&s, VHOST_SET_PROTOCOL_FEATURES, 0, VHOST_PROTOCOL_OFFERED);
	script_add(&s, VHOST_GET_QUEUE_NUM, 0, NULL, 0);
	script_add(&s, VHOST_GET_MAX_MEM_SLOTS, 0, NULL, 0);
	script_add(&s, VHOST_SET_BACKEND_REQ_FD, 33, NULL, 0);
	script_u64(&s, VHOST_SET_FEATURES, 16,
		   VHOST_BIT(VIRTIO_VERSION_1) | VHOST_BIT(VHOST_PROTOCOL_FEATURES) |
			   VHOST_BIT(VHOST_LOG_ALL));
	script_add(&s, VHOST_SET_DEVICE_STATE_FD, 33, &load, sizeof(load));
	script_add(&s, VHOST_CHECK_DEVICE_STATE, 0, NULL, 0);
	script_add(&s, VHOST_ADD_MEM_REG, 17, &region, sizeof(region));
	script_add(&s, VHOST_ADD_MEM_REG, 17, &other, sizeof(other));
	script_add(&s, VHOST_SET_LOG_BASE, 1, &log, sizeof(log));
	script_u64(&s, VHOST_SET_LOG_FD, 9, 0);
	script_state(&s, VHOST_SET_VRING_NUM, 8);
	script_add(&s, VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr));
	script_u64(&s, VHOST_SET_VRING_ERR, 9, 0);
	script_u64(&s, VHOST_SET_VRING_KICK, 0, 256); /* polled */
	script_state(&s, VHOST_SET_VRING_ENABLE, 1);
	script_add(&s, VHOST_REM_MEM_REG, 16, &other, sizeof(other));
	script_state(&s, VHOST_GET_VRING_BASE, 0);
	script_add(&s, VHOST_SET_DEVICE_STATE_FD, 33, &save, sizeof(save));
	script_add(&s, VHOST_CHECK_DEVICE_STATE, 0, NULL, 0);
	script_add(&s, VHOST_RESET_OWNER, 0, NULL, 0);
	put("vhost_messages", "slots", s.bytes, s.len);
}

/* Messages in two parts, some with as many descriptors as one may have, or more. */
static void part_seeds(vhost_seed *put)
{
	struct vhost_table_message table = { 4, 0, { { 0, 4096, USER, 0 } } };
	struct script s = { .bytes = { 0 }, .len = 1 };

	for (unsigned i = 1; i < 4; i++)
		table.regions[i] = (struct vhost_region_message){ i * 8192u, 4096, USER + i * 4096u,
								  i * 4096u };
	script_u64(&s, VHOST_SET_PROTOCOL_FEATURES, 64, VHOST_PROTOCOL_OFFERED);
	script_u64(&s, VHOST_SET_FEATURES, 64, VHOST_BIT(VIRTIO_VERSION_1));
	script_add(&s, VHOST_SET_MEM_TABLE, 64 | 128 | 1, &table, 8 + 4 * 32);
	script_add(&s, VHOST_GET_QUEUE_NUM, 64, NULL, 0);
	script_u64(&s, VHOST_SET_VRING_KICK, 64 | 8 | 1, 0);
	script_add(&s, VHOST_SET_MEM_TABLE, 128 | 3, &table, 8 + 4 * 32);
	put("vhost_messages", "parts", s.bytes, s.len);
}

void vhost_seeds(vhost_seed *put)
{
	static const struct {
		const char *name;
		uint32_t type;
		uint16_t flags;
	} kinds[] = { { "in", 0, VRING_WRITE }, { "out", 1, 0 },      { "flush", 4, 0 },
		      { "id", 8, VRING_WRITE }, { "discard", 11, 0 }, { "zeroes", 13, 0 } };
	uint8_t bytes[1 + 16384] = { 3 };

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		put_ring(bytes + 1, kinds[i].type, kinds[i].flags);
		put("vhost_ring", kinds[i].name, bytes, 1 + 12288 + 64);
	}
	message_seeds(put, VHOST_BIT(VIRTIO_VERSION_1), "old");
	message_seeds(put,
		      VHOST_BIT(VIRTIO_VERSION_1) | VHOST_BIT(VHOST_PROTOCOL_FEATURES) |
			      VHOST_BIT(VIRTIO_EVENT_IDX) | VHOST_BIT(VHOST_LOG_ALL) |
			      VHOST_BIT(VIRTIO_INDIRECT_DESC),
		      "new");
	other_seeds(put);
	part_seeds(put);
}
