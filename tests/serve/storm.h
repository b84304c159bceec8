/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests at random that are checked byte for byte, while the backend dies again and again. */
#ifndef TESTS_SERVE_STORM_H
#define TESTS_SERVE_STORM_H

#include "tests/serve/backend.h"
#include "tests/serve/world.h"

struct storm {
	struct backend backend;
	struct front front;
	struct world world;
	const struct order *order;
	unsigned depth;   /* requests in flight, of all queues */
	unsigned kill_ms; /* between two deaths; 0: it never dies */
	int kill_number;  /* the signal */
	unsigned seconds;
	uint64_t n_done, n_deaths;
};

/* Makes so many requests of a device that runs, and waits for their ends. */
void storm_some(struct storm *storm, uint64_t n);
/* Reads each block. */
void storm_read_all(struct storm *storm);
/* Runs it; ends the program where anything is wrong. At its end all blocks are read. */
void storm_run(struct storm *storm);

#endif
