/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What tells one disk from another of the same length: a hash of its first MiB and of its last
 * 64 KiB. It says which ranges are to be read next; it reads nothing itself.
 */
#ifndef TOOLS_NBD_FINGERPRINT_H
#define TOOLS_NBD_FINGERPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fingerprint {
	uint64_t low, high; /* XXH3-128 of both ranges, one behind the other */
};

struct fingerprint_reading {
	uint8_t *bytes; /* owned; NULL: not begun */
	uint64_t tail_off;
	size_t head_len, tail_len, done;
};

/* Begins for a disk of `length` bytes whose requests are aligned to block_size. 0 or -ENOMEM. */
int fingerprint_begin(struct fingerprint_reading *reading, uint64_t length, uint32_t block_size);
/* The next range, at most max bytes of it; false: all is read. */
bool fingerprint_next(const struct fingerprint_reading *reading, uint32_t max, uint64_t *offset,
		      uint32_t *len, void **buf);
/* len bytes of the range were read. */
void fingerprint_did(struct fingerprint_reading *reading, uint32_t len);
/* The hash of all; frees what the reading has. */
struct fingerprint fingerprint_end(struct fingerprint_reading *reading);

#endif
