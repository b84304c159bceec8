/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The rings of a backend that is not ours (other.c). */
#ifndef TESTS_SERVE_OTHER_RING_H
#define TESTS_SERVE_OTHER_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/vhost/protocol.h"

#define OTHER_MAX_QUEUES 4u

/* What our server offers a guest: a machine that changes its server keeps what it acknowledged. */
#define OTHER_FEATURES                                                      \
	(VHOST_BIT(VIRTIO_VERSION_1) | VHOST_BIT(VHOST_PROTOCOL_FEATURES) | \
	 VHOST_BIT(VIRTIO_INDIRECT_DESC) | VHOST_BIT(VIRTIO_EVENT_IDX) |    \
	 VHOST_BIT(VIRTIO_BLK_FLUSH) | VHOST_BIT(VIRTIO_BLK_CONFIG_WCE) |   \
	 VHOST_BIT(VIRTIO_BLK_MQ) | VHOST_BIT(VIRTIO_BLK_WRITE_ZEROES) |    \
	 VHOST_BIT(VIRTIO_BLK_DISCARD))
#define OTHER_PROTOCOL                                                        \
	(VHOST_BIT(VHOST_PROTOCOL_MQ) | VHOST_BIT(VHOST_PROTOCOL_REPLY_ACK) | \
	 VHOST_BIT(VHOST_PROTOCOL_CONFIG) | VHOST_BIT(VHOST_PROTOCOL_INFLIGHT_SHMFD))

struct other_region {
	uint64_t guest_addr, user_addr, len;
	uint8_t *host;
};

struct other_queue {
	unsigned size;
	struct vhost_ring_addr addr;
	bool is_started, is_enabled, is_prepared;
	uint16_t last_avail;
	int call_fd;
	uint64_t counter;
	unsigned n_taken;
	uint16_t taken[VRING_MAX_SIZE];
};

struct other {
	int file;
	uint64_t features;
	unsigned n_regions;
	struct other_region regions[VHOST_TABLE_REGIONS];
	struct other_queue queues[OTHER_MAX_QUEUES];
	uint8_t *inflight; /* NULL: none */
	unsigned inflight_size;
};

/* Of a queue's part of the in-flight region. */
size_t other_region_len(unsigned queue_size);
/* Takes what there is, and ends some of it. */
void other_work(struct other *other, struct other_queue *queue);
void other_end_all(struct other *other, struct other_queue *queue);

#endif
