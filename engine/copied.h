/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_COPIED_H
#define BLOCKPULL_COPIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xxhash.h>

/* Guest bytes under one digest, at most: what is verified as one, and given up when the guest writes. */
#define COPIED_MAX_LEN (UINT64_C(64) << 10)

/* One stretch that was copied into the overlay, and what it was when it was read. */
struct copied {
	uint64_t guest_off;
	uint64_t host_off; /* where is_direct; else the tables say it */
	uint32_t len;      /* bytes; 0: it is somebody else's by now */
	bool is_direct; /* no table leads there from the guest's disk: a snapshot's own, or a raw file */
	XXH128_hash_t digest;
};

/* In order of guest_off. Zero-initialise. */
struct copied_list {
	struct copied *items;
	size_t n, cap;
};

/* How far the stretch at guest_off goes, of `len` bytes: to the next multiple of COPIED_MAX_LEN. */
uint32_t copied_stretch_len(uint64_t guest_off, uint64_t len);
/* Room for n more: 0 or -ENOMEM. */
int copied_reserve(struct copied_list *list, size_t n);
/* Adds one; there is room. */
void copied_add(struct copied_list *list, const struct copied *item);
/* The guest writes to [guest_off, guest_off + len) of its disk: what was copied there is not compared
 * any more. */
void copied_forget(struct copied_list *list, uint64_t guest_off, uint64_t len);
void copied_clear(struct copied_list *list);

#endif
