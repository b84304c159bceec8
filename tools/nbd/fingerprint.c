/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/nbd/fingerprint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEAD_LEN (1 << 20)
#define TAIL_LEN (64 << 10)

int fingerprint_begin(struct fingerprint_reading *reading, uint64_t length, uint32_t block_size)
{
	memset(reading, 0, sizeof(*reading));
	reading->head_len = length < HEAD_LEN ? length : HEAD_LEN;
	/* Both ends of the tail are aligned: a block is at most as long as it is. */
	reading->tail_off = length < HEAD_LEN + TAIL_LEN ? reading->head_len : length - TAIL_LEN;
	reading->tail_off -= reading->tail_off % block_size;
	if (reading->tail_off < reading->head_len)
		reading->tail_off = reading->head_len;
	reading->tail_len = length - reading->tail_off;
	reading->bytes = malloc(reading->head_len + reading->tail_len + 1);
	return reading->bytes ? 0 : -ENOMEM;
}

bool fingerprint_next(const struct fingerprint_reading *reading, uint32_t max, uint64_t *offset,
		      uint32_t *len, void **buf)
{
	bool is_tail = reading->done >= reading->head_len;
	size_t left = reading->head_len - reading->done;

	if (is_tail)
		left = reading->head_len + reading->tail_len - reading->done;
	if (left == 0)
		return false;
	*offset = is_tail ? reading->tail_off + (reading->done - reading->head_len) : reading->done;
	*len = left < max ? left : max;
	*buf = reading->bytes + reading->done;
	return true;
}

void fingerprint_did(struct fingerprint_reading *reading, uint32_t len)
{
	reading->done += len;
}

struct fingerprint fingerprint_end(struct fingerprint_reading *reading)
{
	XXH128_hash_t hash = XXH3_128bits(reading->bytes, reading->done);

	free(reading->bytes);
	memset(reading, 0, sizeof(*reading));
	return (struct fingerprint){ .low = hash.low64, .high = hash.high64 };
}
