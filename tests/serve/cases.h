/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The cases of QEMU's own test of a vhost-user disk, rewritten. */
#ifndef TESTS_SERVE_CASES_H
#define TESTS_SERVE_CASES_H

#include "tests/serve/orders.h"

/* Of a disk so long, full of the byte `first`, behind as many queues as the front has. Ends the
 * program where anything is wrong. */
void cases_run(struct front *front, const struct order *order, const char *socket, uint8_t first,
	       uint64_t disk_len);

#endif
