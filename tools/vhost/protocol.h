/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The words of vhost-user (QEMU docs/interop/vhost-user.rst) and of virtio that
 * a backend for a disk needs. Numbers on the wire are the machine's own: both
 * ends are on one host.
 */
#ifndef TOOLS_VHOST_PROTOCOL_H
#define TOOLS_VHOST_PROTOCOL_H

#include <stdint.h>

enum vhost_number {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_LOG_FD = 7,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SET_BACKEND_REQ_FD = 21,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
	VHOST_RESET_DEVICE = 34,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG = 37,
	VHOST_REM_MEM_REG = 38,
	VHOST_SET_DEVICE_STATE_FD = 42,
	VHOST_CHECK_DEVICE_STATE = 43,
	VHOST_N_NUMBERS = 44,
};

/* Requests of the backend's own, on the channel of SET_BACKEND_REQ_FD. */
#define VHOST_BACKEND_CONFIG_CHANGE 2

/* A message's flags. */
#define VHOST_VERSION      1u
#define VHOST_VERSION_MASK 3u
#define VHOST_REPLY        (1u << 2)
#define VHOST_NEED_REPLY   (1u << 3)

/* Protocol features, by bit. Not offered: 8 and 10 to 18 but those here; 20, which meant two
 * things for some time. */
enum vhost_protocol_bit {
	VHOST_PROTOCOL_MQ = 0,
	VHOST_PROTOCOL_LOG_SHMFD = 1,
	VHOST_PROTOCOL_REPLY_ACK = 3,
	VHOST_PROTOCOL_BACKEND_REQ = 5,
	VHOST_PROTOCOL_CONFIG = 9,
	VHOST_PROTOCOL_INFLIGHT_SHMFD = 12,
	VHOST_PROTOCOL_RESET_DEVICE = 13,
	VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS = 15,
	VHOST_PROTOCOL_DEVICE_STATE = 19,
};

#define VHOST_BIT(n) (UINT64_C(1) << (n))

#define VHOST_PROTOCOL_OFFERED                                                                    \
	(VHOST_BIT(VHOST_PROTOCOL_MQ) | VHOST_BIT(VHOST_PROTOCOL_LOG_SHMFD) |                     \
	 VHOST_BIT(VHOST_PROTOCOL_REPLY_ACK) | VHOST_BIT(VHOST_PROTOCOL_BACKEND_REQ) |            \
	 VHOST_BIT(VHOST_PROTOCOL_CONFIG) | VHOST_BIT(VHOST_PROTOCOL_INFLIGHT_SHMFD) |            \
	 VHOST_BIT(VHOST_PROTOCOL_RESET_DEVICE) | VHOST_BIT(VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS) | \
	 VHOST_BIT(VHOST_PROTOCOL_DEVICE_STATE))

/* Features of virtio and of its block device, by bit. */
enum virtio_bit {
	VIRTIO_BLK_SEG_MAX = 2,
	VIRTIO_BLK_RO = 5,
	VIRTIO_BLK_BLK_SIZE = 6,
	VIRTIO_BLK_FLUSH = 9,
	VIRTIO_BLK_TOPOLOGY = 10,
	VIRTIO_BLK_CONFIG_WCE = 11,
	VIRTIO_BLK_MQ = 12,
	VIRTIO_BLK_DISCARD = 13,
	VIRTIO_BLK_WRITE_ZEROES = 14,
	VHOST_LOG_ALL = 26,
	VIRTIO_INDIRECT_DESC = 28,
	VIRTIO_EVENT_IDX = 29,
	VHOST_PROTOCOL_FEATURES = 30,
	VIRTIO_VERSION_1 = 32,
};

/* ---- what messages carry ---- */

struct vhost_ring_state {
	uint32_t index, num;
};

struct vhost_ring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail; /* of the frontend's own address space */
	uint64_t log;               /* guest-physical, of the used ring */
};
#define VHOST_RING_LOGS 1u /* flags: changes of the used ring are logged */

/* Payload of SET_VRING_KICK, _CALL and _ERR. */
#define VHOST_FD_INDEX 0xffu
#define VHOST_FD_NONE  (1u << 8)

struct vhost_region_message {
	uint64_t guest_addr, len, user_addr, mmap_off;
};

#define VHOST_TABLE_REGIONS 8
struct vhost_table_message {
	uint32_t n, padding;
	struct vhost_region_message regions[VHOST_TABLE_REGIONS];
};

struct vhost_single_region {
	uint64_t padding;
	struct vhost_region_message region;
};

#define VHOST_MAX_CONFIG 256
struct vhost_config_message {
	uint32_t off, len, flags;
	uint8_t bytes[VHOST_MAX_CONFIG];
};
#define VHOST_CONFIG_HEAD 12

struct vhost_log_message {
	uint64_t len, mmap_off;
};

struct vhost_inflight_message {
	uint64_t mmap_len, mmap_off;
	uint16_t n_queues, queue_size;
	uint8_t padding[4];
};
#define VHOST_INFLIGHT_LEN 20 /* on the wire; some send the padding, too */

struct vhost_state_message {
	uint32_t direction, phase;
};
#define VHOST_STATE_SAVE 0
#define VHOST_STATE_LOAD 1
#define VHOST_STATE_NOFD 0x100 /* in answers of SET_DEVICE_STATE_FD */

/* ---- split rings ---- */

struct vring_desc {
	uint64_t addr; /* guest-physical */
	uint32_t len;
	uint16_t flags, next;
};
#define VRING_NEXT     1u
#define VRING_WRITE    2u
#define VRING_INDIRECT 4u

struct vring_avail {
	uint16_t flags, idx, heads[];
};
#define VRING_NO_INTERRUPT 1u

struct vring_used_elem {
	uint32_t head, len;
};
struct vring_used {
	uint16_t flags, idx;
	struct vring_used_elem elems[];
};
#define VRING_NO_NOTIFY 1u

#define VRING_MAX_SIZE 32768u

#endif
