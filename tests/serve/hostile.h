/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What no frontend should do, and a backend must survive; where it does not, the program ends. */
#ifndef TESTS_SERVE_HOSTILE_H
#define TESTS_SERVE_HOSTILE_H

#include "tests/serve/backend.h"
#include "tests/serve/orders.h"

struct hostile {
	struct backend backend;
	const struct order *order;
	uint64_t seed;
	uint8_t first; /* byte that the disk is full of */
};

/* Connects; and starts a frontend's device. */
void hostile_connect(struct hostile *hostile, struct front *front);
void hostile_start(struct hostile *hostile, struct front *front);
/* A frontend as it should be reads, and stops. */
void hostile_judge(struct hostile *hostile);

/* The memory becomes shorter while requests are in flight. */
void hostile_truncate(struct hostile *hostile);
/* Connections of random bytes, and of messages with random payloads. */
void hostile_noise(struct hostile *hostile);
/* Rings of random words. */
void hostile_rings(struct hostile *hostile);
/* Not hostile, but seldom: the log of changed pages has what requests wrote, and nothing else; and
 * logs that are too short (hostile_log.c). */
void hostile_log(struct hostile *hostile);
/* The device's state goes to another session; and what is none (hostile_state.c). */
void hostile_state(struct hostile *hostile);

#endif
