/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The requests of a block device, as virtio's text has them. The server's own declarations are not
 * used: a mistake there would be made here, too.
 */
#ifndef TESTS_SERVE_BLOCK_H
#define TESTS_SERVE_BLOCK_H

#include <stdint.h>

#define BLOCK_SECTOR 512u
#define BLOCK_ID_LEN 20u

enum block_type {
	BLOCK_READ = 0,
	BLOCK_WRITE = 1,
	BLOCK_FLUSH = 4,
	BLOCK_ID = 8,
	BLOCK_DISCARD = 11,
	BLOCK_ZEROES = 13,
};

struct block_header {
	uint32_t type, priority;
	uint64_t sector;
};

/* Of a discard, or of zeroes. */
struct block_range {
	uint64_t sector;
	uint32_t n_sectors, flags;
};

#endif
