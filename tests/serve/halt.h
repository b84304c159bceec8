/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rings that are stopped while their requests are in flight. */
#ifndef TESTS_SERVE_HALT_H
#define TESTS_SERVE_HALT_H

#include "tests/serve/front.h"
#include "tests/serve/orders.h"

/* Fills all rings and stops them, so many times, on a disk that is full of `first`. When a ring's
 * stop was answered, all that the server took of it is over, and neither its memory changes any
 * more nor is the guest called. Returns how often requests were in flight when a stop was sent. */
unsigned halt_run(struct front *front, const struct order *order, const char *socket, uint8_t first,
		  unsigned rounds);

#endif
