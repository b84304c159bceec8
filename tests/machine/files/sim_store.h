/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The contents of a simulated file: 4 KiB pages in an array sorted by index,
 * absent where the file has a hole, shared between copies until written. So a
 * file of many TiB costs what was written to it, and the image after a power
 * cut costs what differs. A hash table was rejected: the length of a hole would
 * take a walk over all of it.
 */
#ifndef BLOCKPULL_SIM_STORE_H
#define BLOCKPULL_SIM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_PAGE_LEN 4096

struct sim_page {
	unsigned refs;
	uint8_t bytes[SIM_PAGE_LEN];
};

struct sim_store {
	struct sim_slot {
		uint64_t idx; /* of the page: offset / SIM_PAGE_LEN */
		struct sim_page *page;
	} * slots;
	size_t n_slots, cap;
	uint64_t len; /* bytes; slots lie below it */
};

/* All zero is an empty store. */
void sim_store_clear(struct sim_store *store);
/* *to is overwritten, so it must be empty. */
void sim_store_clone(struct sim_store *to, const struct sim_store *from);
/* Bytes past the end read as zeros. */
void sim_store_read(const struct sim_store *store, void *buf, size_t len, uint64_t off);
/* Grows the file as needed. */
void sim_store_write(struct sim_store *store, const void *buf, size_t len, uint64_t off);
void sim_store_truncate(struct sim_store *store, uint64_t len);
/* The range reads as zeros from then on, its whole pages are a hole; the file keeps its length. */
void sim_store_punch(struct sim_store *store, uint64_t off, uint64_t len);
/* Bytes from off (below len) for which *is_hole holds. */
uint64_t sim_store_status(const struct sim_store *store, uint64_t off, bool *is_hole);

#endif
