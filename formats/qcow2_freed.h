/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* References dropped by the guest's writes, on their way to being counted so (qcow2_freed.c). */
#ifndef BLOCKPULL_QCOW2_FREED_H
#define BLOCKPULL_QCOW2_FREED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One reference less to each of n host clusters. */
struct qcow2_freed {
	uint64_t first_idx, n;
	bool reuse; /* when nothing refers to them any more they may be handed out again */
};

struct qcow2_freed_list {
	struct qcow2_freed *items;
	size_t n, cap;
};

struct qcow2_freed_lists {
	struct qcow2_freed_list fresh, staged, written;
	struct qcow2_freed_list unused;   /* counted free; operations may still read them */
	struct qcow2_freed_list reusable; /* nobody does: handed out again */
};

#endif
