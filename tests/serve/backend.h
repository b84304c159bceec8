/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A backend as a child of ours, which is killed and started again. */
#ifndef TESTS_SERVE_BACKEND_H
#define TESTS_SERVE_BACKEND_H

#include <sys/types.h>

#include "tests/serve/front.h"
#include "tests/serve/orders.h"

#define BACKEND_MAX_COMMANDS 2

struct backend {
	char **commands[BACKEND_MAX_COMMANDS]; /* each start takes the next one */
	unsigned n_commands;
	const char *socket;
	pid_t pid;
	unsigned n_starts;
};

/* Of a command with --socket-path=PATH somewhere, and what comes behind --then: another one, that
 * listens there as well. */
void backend_open(struct backend *backend, char **argv);
void backend_start(struct backend *backend);
/* Ends it by a signal and waits for it: its exit code, or 128 + the signal that ended it. */
int backend_end(struct backend *backend, int number);
/* Starts the rings on a new connection, as after a backend's end: what is in flight stays so. */
void backend_attach(struct backend *backend, struct front *front, const struct order *order);

#endif
