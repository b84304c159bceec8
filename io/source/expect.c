/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Chunks are compared on the thread that ends the last question of a read: that is the network's,
 * which has time, and not the engine's.
 */
#include "io/source/expect.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/base.h"

struct source_expect {
	uint32_t chunk_len;
	uint64_t source_len;
	XXH128_hash_t zeros, last_zeros; /* of a whole chunk, and of the last one */
	XXH128_hash_t digests[];
};

uint64_t source_expect_count(uint32_t chunk_len, uint64_t source_len)
{
	return div_round_up(source_len, chunk_len);
}

static uint64_t len_at(const struct source_expect *expect, uint64_t off)
{
	return MIN((uint64_t)expect->chunk_len, expect->source_len - off);
}

struct source_expect *source_expect_new(const uint8_t *digests, uint32_t chunk_len,
					uint64_t source_len)
{
	uint64_t n = source_expect_count(chunk_len, source_len);
	autofree uint8_t *zeros = calloc(1, chunk_len);
	struct source_expect *expect =
		zeros ? calloc(1, sizeof(*expect) + n * sizeof(expect->digests[0])) : NULL;

	if (!expect)
		return NULL;
	expect->chunk_len = chunk_len;
	expect->source_len = source_len;
	expect->zeros = XXH3_128bits(zeros, chunk_len);
	if (n)
		expect->last_zeros = XXH3_128bits(zeros, len_at(expect, (n - 1) * chunk_len));
	for (uint64_t i = 0; i < n; i++) {
		XXH128_canonical_t canonical;

		memcpy(&canonical, digests + i * SOURCE_DIGEST_LEN, sizeof(canonical));
		expect->digests[i] = XXH128_hashFromCanonical(&canonical);
	}
	return expect;
}

uint32_t source_expect_chunk_len(const struct source_expect *expect)
{
	return expect->chunk_len;
}

bool source_expect_holds(const struct source_expect *expect, const uint8_t *bytes, uint64_t off,
			 uint64_t len)
{
	for (uint64_t end = off + len; off < end; off += expect->chunk_len) {
		uint64_t n = len_at(expect, off);

		if (!XXH128_isEqual(XXH3_128bits(bytes, n),
				    expect->digests[off / expect->chunk_len]))
			return false;
		bytes += n;
	}
	return true;
}

bool source_expect_is_zero(const struct source_expect *expect, uint64_t off)
{
	uint64_t i = off / expect->chunk_len;
	bool is_last = (i + 1) * expect->chunk_len >= expect->source_len;

	return XXH128_isEqual(expect->digests[i], is_last ? expect->last_zeros : expect->zeros);
}

bool source_expect_is_same(const struct source_expect *a, const struct source_expect *b)
{
	if (!a || !b)
		return a == b;
	return a->chunk_len == b->chunk_len && a->source_len == b->source_len &&
	       !memcmp(a->digests, b->digests,
		       source_expect_count(a->chunk_len, a->source_len) * sizeof(a->digests[0]));
}

void source_expect_free(struct source_expect *expect)
{
	free(expect);
}
