/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* In which order VMMs send their messages, what they acknowledge, and which queues they make. */
#ifndef TESTS_SERVE_ORDERS_H
#define TESTS_SERVE_ORDERS_H

#include "tests/serve/front.h"

struct order {
	const char *name;
	uint64_t protocol_features; /* that it acknowledges where they are offered */
	uint64_t not_features;      /* of virtio that it does not */
	bool never_asks;            /* for an answer by REPLY_ACK, though it acknowledges that */
	const uint8_t *connect;     /* messages of a new connection; 0 ends a list */
	const uint8_t *reconnect;   /* of one after another's end; NULL: the same */
	const uint8_t *start;       /* of the device and its rings */
	const uint8_t *stop;
};

extern const struct order orders[];
extern const unsigned n_orders;

/* Queues as a VMM makes them. */
struct order_shape {
	const char *order;
	const char *what;
	struct front_shape shape;
};

extern const struct order_shape order_shapes[];
extern const unsigned n_order_shapes;

/* NULL: there is none of that name. */
const struct order *order_find(const char *name);
/* A connection, from its beginning until the rings run. False: the backend refuses, or has gone. */
bool order_connect(struct front *front, const struct order *order);
bool order_start(struct front *front, const struct order *order);
/* One more ring of a device that was started; its ring is where it was. */
bool order_start_queue(struct front *front, const struct order *order, unsigned index);
bool order_stop(struct front *front, const struct order *order);

#endif
