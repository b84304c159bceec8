/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Read in the sources of the VMMs, 2022 to 2026. Lists have what a disk's backend
 * is sent; a message whose feature was not acknowledged is left out. What stands
 * between EACH and DONE is said of each queue, then of the next one.
 */
#include "tests/serve/orders.h"

#include <string.h>

#define DISABLE 0xfd /* SET_VRING_ENABLE with 0 */
#define EACH    0xfe
#define DONE    0xff

#define LIST(name, ...) static const uint8_t name[] = { __VA_ARGS__, 0 }

LIST(qemu_connect, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES, VHOST_SET_PROTOCOL_FEATURES,
     VHOST_GET_QUEUE_NUM, VHOST_GET_MAX_MEM_SLOTS, VHOST_SET_BACKEND_REQ_FD, VHOST_SET_OWNER,
     VHOST_GET_FEATURES, EACH, VHOST_SET_VRING_CALL, DONE, VHOST_GET_CONFIG);
LIST(qemu_start, VHOST_GET_INFLIGHT_FD, VHOST_SET_INFLIGHT_FD, VHOST_SET_FEATURES,
     VHOST_ADD_MEM_REG, EACH, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
     VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, DONE, EACH, VHOST_SET_VRING_ENABLE, DONE, EACH,
     VHOST_SET_VRING_CALL, DONE);
LIST(qemu_stop, EACH, DISABLE, DONE, EACH, VHOST_GET_VRING_BASE, DONE);
LIST(qemu_old_start, VHOST_GET_INFLIGHT_FD, VHOST_SET_INFLIGHT_FD, VHOST_SET_FEATURES,
     VHOST_SET_MEM_TABLE, EACH, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
     VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, DONE);
LIST(qemu_old_stop, EACH, VHOST_GET_VRING_BASE, DONE);
LIST(ch_connect, VHOST_SET_OWNER, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES,
     VHOST_SET_PROTOCOL_FEATURES, VHOST_GET_QUEUE_NUM, VHOST_GET_CONFIG);
LIST(ch_reconnect, VHOST_SET_OWNER, VHOST_GET_FEATURES, VHOST_SET_PROTOCOL_FEATURES);
LIST(ch_start, VHOST_SET_FEATURES, VHOST_SET_MEM_TABLE, EACH, VHOST_SET_VRING_NUM, DONE,
     VHOST_GET_INFLIGHT_FD, VHOST_SET_INFLIGHT_FD, EACH, VHOST_SET_VRING_ADDR, VHOST_SET_VRING_BASE,
     VHOST_SET_VRING_CALL, VHOST_SET_VRING_KICK, DONE, EACH, VHOST_SET_VRING_ENABLE, DONE);
LIST(rust_stop, EACH, DISABLE, VHOST_GET_VRING_BASE, DONE);
LIST(crosvm_connect, VHOST_SET_OWNER, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES,
     VHOST_SET_PROTOCOL_FEATURES, VHOST_SET_BACKEND_REQ_FD, VHOST_GET_QUEUE_NUM, VHOST_GET_CONFIG);
LIST(crosvm_start, VHOST_SET_FEATURES, VHOST_SET_MEM_TABLE, EACH, VHOST_SET_VRING_NUM,
     VHOST_SET_VRING_ADDR, VHOST_SET_VRING_BASE, VHOST_SET_VRING_CALL, VHOST_SET_VRING_KICK,
     VHOST_SET_VRING_ENABLE, DONE);
LIST(fire_connect, VHOST_SET_OWNER, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES,
     VHOST_SET_PROTOCOL_FEATURES, VHOST_GET_CONFIG);
LIST(fire_start, VHOST_SET_FEATURES, VHOST_SET_MEM_TABLE, EACH, VHOST_SET_VRING_NUM, DONE, EACH,
     VHOST_SET_VRING_ADDR, VHOST_SET_VRING_BASE, VHOST_SET_VRING_CALL, VHOST_SET_VRING_KICK,
     VHOST_SET_VRING_ENABLE, DONE);

#define P(name) VHOST_BIT(VHOST_PROTOCOL_##name)
#define ALL     UINT64_MAX

const struct order orders[] = {
	{ "qemu", ALL, VHOST_BIT(VHOST_LOG_ALL), false, qemu_connect, NULL, qemu_start, qemu_stop },
	{ "qemu-old", ALL & ~(P(REPLY_ACK) | P(CONFIGURE_MEM_SLOTS)),
	  VHOST_BIT(VHOST_LOG_ALL) | VHOST_BIT(VHOST_PROTOCOL_FEATURES), false, qemu_connect, NULL,
	  qemu_old_start, qemu_old_stop },
	{ "cloud-hypervisor",
	  P(CONFIG) | P(MQ) | P(CONFIGURE_MEM_SLOTS) | P(REPLY_ACK) | P(INFLIGHT_SHMFD) |
		  P(LOG_SHMFD) | P(DEVICE_STATE),
	  VHOST_BIT(VHOST_LOG_ALL), false, ch_connect, ch_reconnect, ch_start, rust_stop },
	{ "crosvm", P(CONFIG) | P(MQ) | P(BACKEND_REQ) | P(REPLY_ACK) | P(DEVICE_STATE),
	  VHOST_BIT(VHOST_LOG_ALL), true, crosvm_connect, NULL, crosvm_start, rust_stop },
	{ "firecracker", P(CONFIG),
	  VHOST_BIT(VHOST_LOG_ALL) | VHOST_BIT(VIRTIO_BLK_CONFIG_WCE) | VHOST_BIT(VIRTIO_BLK_MQ) |
		  VHOST_BIT(VIRTIO_INDIRECT_DESC),
	  false, fire_connect, NULL, fire_start, rust_stop },
};

const unsigned n_orders = sizeof(orders) / sizeof(orders[0]);

/* A request of 4 KiB, and what a driver needs beside it. */
#define DATA 8192u

/* Linux makes its rings as long as the VMM allows. QEMU's and Cloud Hypervisor's queue-size is 128
 * where none is asked for, Kata asks Cloud Hypervisor for 1024, which is the most that QEMU allows;
 * crosvm's Queue::MAX_SIZE is 32768, Firecracker's FIRECRACKER_MAX_QUEUE_SIZE is 256. The driver of
 * Cloud Hypervisor's firmware has a ring of 16 wherever more are allowed. */
const struct order_shape order_shapes[] = {
	{ "qemu", "a queue for each of 4 processors", { 4, 128, 128, DATA } },
	{ "qemu", "the longest queue", { 1, 1024, 1024, DATA } },
	{ "qemu-old", "a queue for each of 4 processors", { 4, 128, 128, DATA } },
	{ "cloud-hypervisor", "as it is without options", { 1, 128, 128, DATA } },
	{ "cloud-hypervisor", "as Kata asks for it", { 1, 1024, 1024, DATA } },
	{ "cloud-hypervisor", "its firmware's ring", { 1, 128, 16, DATA } },
	{ "crosvm", "for a guest of 2 processors", { 2, 32768, 32768, DATA } },
	{ "firecracker", "the one that it makes", { 1, 256, 256, DATA } },
};

const unsigned n_order_shapes = sizeof(order_shapes) / sizeof(order_shapes[0]);

const struct order *order_find(const char *name)
{
	for (unsigned i = 0; i < n_orders; i++)
		if (!strcmp(orders[i].name, name))
			return &orders[i];
	return NULL;
}

/* True: the protocol feature that the message needs was acknowledged. */
static bool order_may_say(const struct front *front, uint8_t number)
{
	uint64_t bit = 0;

	switch (number) {
	case VHOST_GET_QUEUE_NUM: bit = P(MQ); break;
	case VHOST_GET_MAX_MEM_SLOTS:
	case VHOST_ADD_MEM_REG: bit = P(CONFIGURE_MEM_SLOTS); break;
	case VHOST_GET_INFLIGHT_FD:
	case VHOST_SET_INFLIGHT_FD: bit = P(INFLIGHT_SHMFD); break;
	case VHOST_SET_BACKEND_REQ_FD: bit = P(BACKEND_REQ); break;
	default: break;
	}
	return !bit || front->protocol_features & bit;
}

static bool order_say(struct front *front, const struct order *order, uint8_t number,
		      unsigned queue)
{
	if (number == DISABLE)
		return front_enable(front, queue, false);
	if (!order_may_say(front, number))
		return true;
	if (!front_say(front, number, queue))
		return false;
	if (number == VHOST_GET_PROTOCOL_FEATURES)
		front->protocol_features &= order->protocol_features;
	if (number == VHOST_GET_FEATURES)
		front->features &= ~order->not_features;
	if (number == VHOST_SET_PROTOCOL_FEATURES)
		front->asks = front->protocol_features & P(REPLY_ACK) && !order->never_asks;
	return true;
}

/* What is said of each queue from that one on, before that end. Returns where DONE stands; NULL: it
 * was refused. */
static const uint8_t *order_say_each(struct front *front, const struct order *order,
				     const uint8_t *list, unsigned from, unsigned to)
{
	const uint8_t *at = list;

	for (unsigned i = from; i < to; i++)
		for (at = list; *at != DONE; at++)
			if (!order_say(front, order, *at, i))
				return NULL;
	return at;
}

static bool order_say_all(struct front *front, const struct order *order, const uint8_t *list)
{
	for (; list && *list; list++) {
		if (*list == EACH)
			list = order_say_each(front, order, list + 1, 0, front->n_queues);
		else if (!order_say(front, order, *list, 0))
			return false;
		if (!list)
			return false;
	}
	return true;
}

bool order_connect(struct front *front, const struct order *order)
{
	const uint8_t *list = order->connect;

	if (front->was_connected && order->reconnect)
		list = order->reconnect;
	else
		front->protocol_features = 0;
	if (!order_say_all(front, order, list))
		return false;
	front->was_connected = true;
	return true;
}

bool order_start(struct front *front, const struct order *order)
{
	for (unsigned i = 0; i < front->n_queues; i++)
		front->queues[i].event_idx = front->features & VHOST_BIT(VIRTIO_EVENT_IDX);
	return order_say_all(front, order, order->start);
}

bool order_start_queue(struct front *front, const struct order *order, unsigned index)
{
	front->queues[index].event_idx = front->features & VHOST_BIT(VIRTIO_EVENT_IDX);
	for (const uint8_t *list = order->start; *list; list++) {
		if (*list != EACH)
			continue;
		list = order_say_each(front, order, list + 1, index, index + 1);
		if (!list)
			return false;
	}
	return true;
}

bool order_stop(struct front *front, const struct order *order)
{
	return order_say_all(front, order, order->stop);
}
