/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How many requests a second a backend does, and how long they take. */
#ifndef TESTS_SERVE_LOAD_H
#define TESTS_SERVE_LOAD_H

#include "tests/serve/front.h"

struct load {
	bool writes;
	unsigned depth;    /* of each queue */
	uint32_t len;      /* of a request, bytes */
	uint64_t disk_len; /* that is used */
	unsigned seconds;
	uint64_t n_done, elapsed_ns;
	uint64_t p50_ns, p99_ns, max_ns;
};

void load_run(struct front *front, struct load *load);

#endif
