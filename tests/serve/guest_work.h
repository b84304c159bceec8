/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the guest's workers ask of the disk. All of it is drawn from a seed, so that a guest that
 * boots again, and the host, know what the disk must hold. */
#ifndef TESTS_SERVE_GUEST_WORK_H
#define TESTS_SERVE_GUEST_WORK_H

#include <stdbool.h>
#include <stdint.h>

#define BLOCK   4096u
#define UNIT    16u /* blocks: what is discarded, a cluster; and the longest request */
#define WORKERS 4u
#define PART    1536u /* blocks of a worker; it discards the last unit at its end */
#define BLOCKS  (WORKERS * PART + UNIT) /* of the disk; the mark is the last */

#define ZEROS  UINT32_MAX    /* a version */
#define EITHER (1u << 31)    /* flag: it was discarded, and holds that version or zeros */
#define MARK   (EITHER - 1u) /* the version of the mark */

enum way {
	WAY_NOTHING, /* the requests are drawn, and not made */
	WAY_FILE,
	WAY_DISK,
};

struct worker {
	int fd;
	enum way way;
	uint64_t seed, state;
	uint32_t first;          /* block of its part */
	uint32_t version;        /* the last that was drawn */
	uint32_t versions[PART]; /* of what its blocks hold */
};

/* Ends the process, and says why: of errno, too. */
__attribute__((noreturn)) void fail(const char *what, uint32_t block);

/* What a block holds, and whether these are its bytes. */
void fill(uint64_t seed, uint32_t block, uint32_t version, uint64_t *words);
bool holds(uint64_t seed, uint32_t block, uint32_t version, const uint8_t *bytes);
/* A version of one block is written; or a block is read and looked at. */
void write_block(int fd, uint64_t seed, uint32_t block, uint32_t version);
bool has_block(int fd, uint64_t seed, uint32_t block, uint32_t version);

struct worker worker(int fd, enum way way, uint64_t seed, unsigned index);
/* A round of n requests, the first or the next; at its end each byte of the part is known, durable
 * and read back. */
void work(struct worker *w, unsigned n);
/* Draws the same rounds once more, and reads all that they must have left. */
void verify(struct worker *w, unsigned n, unsigned rounds);

#endif
