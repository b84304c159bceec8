/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A frontend that does what it is told, line by line. */
#ifndef TESTS_SERVE_STEER_H
#define TESTS_SERVE_STEER_H

#include "tests/serve/front.h"
#include "tests/serve/orders.h"

/* Obeys lines of stdin until their end, and answers each by a line on stdout. */
void steer_run(struct front *front, const struct order *order, const char *socket);

#endif
