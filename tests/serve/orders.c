/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Read in the sources of the VMMs, 2022 to 2026. Lists have what a disk's backend
 * is sent; a message whose feature was not acknowledged is left out.
 */
#include "tests/serve/orders.h"

#include <string.h>

#define LIST(name, ...) static const uint8_t name[] = { __VA_ARGS__, 0 }

LIST(qemu_connect, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES, VHOST_SET_PROTOCOL_FEATURES,
     VHOST_GET_QUEUE_NUM, VHOST_GET_MAX_MEM_SLOTS, VHOST_SET_OWNER, VHOST_GET_FEATURES,
     VHOST_SET_VRING_CALL, VHOST_GET_CONFIG);
LIST(qemu_start, VHOST_GET_INFLIGHT_FD, VHOST_SET_INFLIGHT_FD, VHOST_SET_FEATURES,
     VHOST_ADD_MEM_REG);
LIST(qemu_old_start, VHOST_GET_INFLIGHT_FD, VHOST_SET_INFLIGHT_FD, VHOST_SET_FEATURES,
     VHOST_SET_MEM_TABLE);
LIST(qemu_queue, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
     VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL);
LIST(ch_connect, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES, VHOST_SET_PROTOCOL_FEATURES,
     VHOST_GET_QUEUE_NUM, VHOST_GET_CONFIG);
LIST(ch_start, VHOST_SET_OWNER, VHOST_GET_FEATURES, VHOST_SET_FEATURES, VHOST_SET_MEM_TABLE,
     VHOST_GET_INFLIGHT_FD, VHOST_SET_INFLIGHT_FD);
LIST(crosvm_connect, VHOST_SET_OWNER, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES,
     VHOST_SET_PROTOCOL_FEATURES, VHOST_GET_QUEUE_NUM, VHOST_GET_CONFIG);
LIST(crosvm_start, VHOST_SET_FEATURES, VHOST_SET_MEM_TABLE);
LIST(fire_connect, VHOST_SET_OWNER, VHOST_GET_FEATURES, VHOST_GET_PROTOCOL_FEATURES,
     VHOST_SET_PROTOCOL_FEATURES, VHOST_GET_CONFIG);
LIST(rust_queue, VHOST_SET_VRING_NUM, VHOST_SET_VRING_ADDR, VHOST_SET_VRING_BASE,
     VHOST_SET_VRING_CALL, VHOST_SET_VRING_KICK);
LIST(enable, VHOST_SET_VRING_ENABLE);
LIST(get_base, VHOST_GET_VRING_BASE);
static const uint8_t nothing[] = { 0 };

#define P(name) VHOST_BIT(VHOST_PROTOCOL_##name)
#define ALL     UINT64_MAX

const struct order orders[] = {
	{ "qemu", ALL, VHOST_BIT(VHOST_LOG_ALL), qemu_connect, qemu_start, qemu_queue, enable,
	  get_base },
	{ "qemu-old", ALL & ~(P(REPLY_ACK) | P(CONFIGURE_MEM_SLOTS)),
	  VHOST_BIT(VHOST_LOG_ALL) | VHOST_BIT(VHOST_PROTOCOL_FEATURES), qemu_connect,
	  qemu_old_start, qemu_queue, nothing, get_base },
	{ "cloud-hypervisor",
	  P(CONFIG) | P(MQ) | P(CONFIGURE_MEM_SLOTS) | P(REPLY_ACK) | P(INFLIGHT_SHMFD) |
		  P(LOG_SHMFD) | P(DEVICE_STATE),
	  VHOST_BIT(VHOST_LOG_ALL), ch_connect, ch_start, rust_queue, enable, get_base },
	{ "crosvm", P(CONFIG) | P(MQ) | P(BACKEND_REQ) | P(REPLY_ACK) | P(DEVICE_STATE),
	  VHOST_BIT(VHOST_LOG_ALL), crosvm_connect, crosvm_start, rust_queue, enable, get_base },
	{ "firecracker", P(CONFIG),
	  VHOST_BIT(VHOST_LOG_ALL) | VHOST_BIT(VIRTIO_BLK_CONFIG_WCE) | VHOST_BIT(VIRTIO_BLK_MQ) |
		  VHOST_BIT(VIRTIO_INDIRECT_DESC),
	  fire_connect, crosvm_start, rust_queue, enable, get_base },
};

const unsigned n_orders = sizeof(orders) / sizeof(orders[0]);

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
	default: break;
	}
	return !bit || front->protocol_features & bit;
}

static bool order_say(struct front *front, const struct order *order, uint8_t number,
		      unsigned queue)
{
	if (number == VHOST_GET_MAX_MEM_SLOTS || !order_may_say(front, number))
		return true;
	if (!front_say(front, number, queue))
		return false;
	if (number == VHOST_GET_PROTOCOL_FEATURES)
		front->protocol_features &= order->protocol_features;
	if (number == VHOST_GET_FEATURES)
		front->features &= ~order->not_features;
	return true;
}

static bool order_say_all(struct front *front, const struct order *order, const uint8_t *list,
			  unsigned queue)
{
	for (; *list; list++)
		if (!order_say(front, order, *list, queue))
			return false;
	return true;
}

bool order_connect(struct front *front, const struct order *order)
{
	front->protocol_features = 0;
	return order_say_all(front, order, order->connect, 0);
}

bool order_start(struct front *front, const struct order *order)
{
	if (!order_say_all(front, order, order->start, 0))
		return false;
	for (unsigned i = 0; i < front->n_queues; i++) {
		front->queues[i].event_idx = front->features & VHOST_BIT(VIRTIO_EVENT_IDX);
		if (!order_say_all(front, order, order->queue, i))
			return false;
	}
	for (unsigned i = 0; i < front->n_queues; i++)
		if (!order_say_all(front, order, order->enable, i))
			return false;
	return true;
}

bool order_start_queue(struct front *front, const struct order *order, unsigned index)
{
	front->queues[index].event_idx = front->features & VHOST_BIT(VIRTIO_EVENT_IDX);
	return order_say_all(front, order, order->queue, index) &&
	       order_say_all(front, order, order->enable, index);
}

bool order_stop(struct front *front, const struct order *order)
{
	for (unsigned i = 0; i < front->n_queues; i++)
		if ((order->enable[0] && !front_enable(front, i, false)) ||
		    !order_say_all(front, order, order->stop, i))
			return false;
	return true;
}
