/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A raw image of which a program supplies the bytes, and a second file that says which of its
 * blocks are zeros (io/source/source.h). That second file is read in tables, as an image's are.
 */
#include "formats/raw/raw_zeros.h"

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/source/source.h"

/* Blocks of which one table tells: a bit for each. */
#define TABLE_BLOCKS (8 * (uint64_t)TABLE_MAX_LEN)

static bool block_is_zero(const struct table *table, uint64_t block)
{
	return table->bytes[block / 8] >> block % 8 & 1;
}

/* How many blocks from `block` on are alike, at most n: by eight bytes, where they are aligned. */
static uint64_t count_alike(const struct table *table, uint64_t block, uint64_t n)
{
	bool is_zero = block_is_zero(table, block);
	uint64_t same = is_zero ? UINT64_MAX : 0, i = 1;

	while (i < n) {
		uint64_t at = block + i;

		if (at % 64 == 0 && n - i >= 64 && le64(table->bytes + at / 8) == same)
			i += 64;
		else if (block_is_zero(table, at) == is_zero)
			i++;
		else
			break;
	}
	return i;
}

int raw_zeros_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		  struct table_need *need)
{
	struct file *zeros = layer->file->of_source.zeros;
	uint64_t block = guest_off / SOURCE_BLOCK_LEN, first = round_down(block, TABLE_BLOCKS);
	uint64_t last = (guest_off + len - 1) / SOURCE_BLOCK_LEN, n, end;
	uint32_t table_len = (uint32_t)MIN((uint64_t)TABLE_MAX_LEN, zeros->len - first / 8);
	struct table *table;
	int rc = table_get(layer->cache, zeros, first / 8, table_len, &table, need);

	if (rc)
		return rc;
	n = MIN(last + 1, first + 8 * (uint64_t)table_len) - block;
	end = (block + count_alike(table, block - first, n)) * SOURCE_BLOCK_LEN;
	*out = (struct extent){
		.kind = block_is_zero(table, block - first) ? EXTENT_ZERO : EXTENT_DATA,
		.guest_off = guest_off,
		.len = MIN(end - guest_off, len),
		.has_host = true,
		.host_off = guest_off,
	};
	return 0;
}
