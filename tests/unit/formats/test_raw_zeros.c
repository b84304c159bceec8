/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Raw images of which a second file says what is zeros: each answer is as long as the blocks are
 * alike, to the block, wherever words, tables and the disk end.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/chain/open.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/source/source.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/random.h"

#define N_SEEDS 300
/* What one table of the cache tells of. */
#define TABLE_BLOCKS (8 * (uint64_t)TABLE_MAX_LEN)

static struct table_cache *cache;
static struct file *disk;
static struct layer *layer;
static uint64_t n_blocks;

static uint8_t *bits(void)
{
	return mem_file_inode(disk->of_source.zeros)->bytes;
}

static bool is_zero(uint64_t block)
{
	return bits()[block / 8] >> block % 8 & 1;
}

static void set(uint64_t from, uint64_t to, bool zero)
{
	for (uint64_t i = from; i < to; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		bits()[i / 8] = (uint8_t)(zero ? bits()[i / 8] | bit : bits()[i / 8] & ~bit);
	}
}

/* A disk of n blocks, of which the last one is short. */
static void begin(uint64_t n)
{
	struct err err;

	n_blocks = n;
	cache = table_cache_new(1 << 20);
	disk = mem_file_new("disk", 1);
	disk->len = n * SOURCE_BLOCK_LEN - 512;
	disk->of_source.zeros = mem_file_new("zeros", round_up((n + 7) / 8, 8));
	cr_assert_eq(format_open(IMAGE_RAW, disk, cache, &layer, &err), 0, "%s", err.message);
}

static void end(void)
{
	struct file *zeros = disk->of_source.zeros;

	layer_close(layer);
	file_close(disk);
	file_close(zeros);
	table_cache_free(cache);
}

/* Asks from guest_off on, and compares with the bits, one by one. */
static void judge(uint64_t guest_off, uint64_t len, uint64_t seed)
{
	uint64_t block = guest_off / SOURCE_BLOCK_LEN, i = block + 1, until;
	uint64_t stop = round_down(block, TABLE_BLOCKS) + TABLE_BLOCKS;
	struct extent e;

	while (i < n_blocks && i < stop && i * SOURCE_BLOCK_LEN < guest_off + len &&
	       is_zero(i) == is_zero(block))
		i++;
	until = MIN(i * SOURCE_BLOCK_LEN, guest_off + len);
	cr_assert_eq(layer_map_now(layer, guest_off, len, &e), 0);
	cr_assert_eq(e.kind, is_zero(block) ? EXTENT_ZERO : EXTENT_DATA,
		     "seed %" PRIu64 ", %" PRIu64 "+%" PRIu64, seed, guest_off, len);
	cr_assert(e.guest_off == guest_off && e.len == until - guest_off,
		  "seed %" PRIu64 ", %" PRIu64 "+%" PRIu64 ": %" PRIu64 " bytes, not %" PRIu64,
		  seed, guest_off, len, e.len, until - guest_off);
}

/* Each border of a run beside each border of a word. */
Test(raw_zeros, runs_end_where_they_end)
{
	begin(512);
	for (unsigned zero = 0; zero < 2; zero++)
		for (uint64_t from = 0; from < 130; from++)
			for (uint64_t to = from + 1;
			     to<330; to += to % 64> 2 && to % 64 < 61 ? 7 : 1) {
				set(0, n_blocks, !zero);
				set(from, to, zero);
				table_cache_forget(cache, disk->of_source.zeros);
				judge(from * SOURCE_BLOCK_LEN, disk->len - from * SOURCE_BLOCK_LEN,
				      0);
				judge(0, disk->len, 0);
			}
	end();
}

Test(raw_zeros, drawn_disks_map_zeros_where_they_are)
{
	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15), at = 0;

		begin(1 + random_below(&random, seed % 10 ? 5000 : 3 * TABLE_BLOCKS));
		while (at < n_blocks) {
			uint64_t n = 1 + random_below(&random, seed % 3 ? 200 : n_blocks);

			if (random_below(&random, 2)) /* up to a word's border, or one off it */
				n = round_up(at + n, 64) - at + random_below(&random, 3) - 1;
			n = MIN(MAX(n, UINT64_C(1)), n_blocks - at);
			set(at, at + n, random_below(&random, 2));
			at += n;
		}
		for (int i = 0; i < 200; i++) {
			uint64_t off = random_below(&random, disk->len);

			judge(off, 1 + random_below(&random, disk->len - off), seed);
		}
		end();
	}
}
