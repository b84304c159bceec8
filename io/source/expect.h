/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the bytes of a source must be: a digest of each of its chunks. What is read is read in whole
 * chunks then, and compared before it is handed on.
 */
#ifndef BLOCKPULL_IO_SOURCE_EXPECT_H
#define BLOCKPULL_IO_SOURCE_EXPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_expect;

#define SOURCE_DIGEST_LEN    16u
#define SOURCE_MIN_CHUNK_LEN (UINT32_C(4) << 10)
#define SOURCE_MAX_CHUNK_LEN (UINT32_C(4) << 20)

/* digests: XXH3-128 of each chunk, in its canonical form (as xxh128sum prints it), the last one of
 * what is left; copied. chunk_len: a power of two from SOURCE_MIN_CHUNK_LEN to _MAX_. NULL: out of
 * memory. */
struct source_expect *source_expect_new(const uint8_t *digests, uint32_t chunk_len,
					uint64_t source_len);
/* Chunks of a source. */
uint64_t source_expect_count(uint32_t chunk_len, uint64_t source_len);
uint32_t source_expect_chunk_len(const struct source_expect *expect);
/* Whether the chunks that [off, off + len) is made of are what they must be. */
bool source_expect_holds(const struct source_expect *expect, const uint8_t *bytes, uint64_t off,
			 uint64_t len);
/* The chunk that the byte lies in must be zeros altogether. */
bool source_expect_is_zero(const struct source_expect *expect, uint64_t off);
/* Both expect the same, or nothing. NULL is allowed. */
bool source_expect_is_same(const struct source_expect *a, const struct source_expect *b);
void source_expect_free(struct source_expect *expect); /* NULL is allowed */

#endif
