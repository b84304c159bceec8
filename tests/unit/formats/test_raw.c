/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Raw images: every byte of the file is where the map says, every byte it
 * calls zero is zero, and the walk over the disk ends at its last byte, for
 * lengths and hole layouts of all kinds.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/chain/open.h"
#include "formats/core/layer.h"
#include "formats/core/layer_guest.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/random.h"

#define N_SEEDS 2000

static uint64_t rng;

static uint64_t roll(uint64_t below)
{
	return random_below(&rng, below);
}

static struct layer *open_raw(struct file *file)
{
	struct layer *layer;
	struct err err;

	cr_assert_eq(format_open(IMAGE_RAW, file, NULL, &layer, &err), 0, "%s", err.message);
	return layer;
}

/* Asks at guest_off and judges the answer against the bytes. */
static struct extent ask(struct layer *layer, uint64_t guest_off, uint64_t len, uint64_t seed)
{
	const struct mem_inode *inode = mem_file_inode(layer->file);
	struct extent e;

	cr_assert_eq(layer_map_now(layer, guest_off, len, &e), 0, "seed %" PRIu64, seed);
	cr_assert(e.guest_off == guest_off && e.len > 0 && e.len <= len, "seed %" PRIu64, seed);
	uint64_t end = guest_off + e.len;
	cr_assert(end % 512 == 0 || end == layer->guest_len || e.len == len,
		  "seed %" PRIu64 ": ends inside a sector", seed);
	if (e.kind == EXTENT_DATA) {
		cr_assert(e.has_host && e.host_off == guest_off, "seed %" PRIu64, seed);
	} else {
		cr_assert(e.kind == EXTENT_ZERO, "seed %" PRIu64, seed);
		for (uint64_t off = guest_off; off < end; off++)
			cr_assert_eq(inode->bytes[off], 0, "seed %" PRIu64 " at %" PRIu64, seed,
				     off);
	}
	return e;
}

static void scatter(struct mem_inode *inode)
{
	for (uint64_t n = roll(12); n; n--) {
		uint64_t off = roll(inode->len), len = 1 + roll(MIN(inode->len - off, 20000ul));

		memset(inode->bytes + off, 0xa5, len);
	}
}

Test(raw, maps_every_byte_and_never_hides_one)
{
	/* Blocks that are no multiple of a sector, too: some file system may have them. */
	static const uint64_t block_lens[] = { 1, 100, 512, 1000, 4096, 65536 };

	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		rng = seed * UINT64_C(0x9e3779b97f4a7c15);
		struct file *file = mem_file_new("disk.raw", 1 + roll(100000));
		struct mem_inode *inode = mem_file_inode(file);
		scatter(inode);
		mem_file_punch(inode, block_lens[roll(ARRAY_LEN(block_lens))]);

		struct layer *layer = open_raw(file);
		cr_assert_eq(layer->guest_len, inode->len, "seed %" PRIu64, seed);
		uint64_t off = 0;
		while (off < layer->guest_len)
			off += ask(layer, off, layer->guest_len - off, seed).len;
		cr_assert_eq(off, layer->guest_len);
		for (int i = 0; i < 20; i++) {
			off = roll(layer->guest_len);
			ask(layer, off, 1 + roll(layer->guest_len - off), seed);
		}
		layer_close(layer);
		file_close(file);
	}
}

Test(raw, holes_are_found_as_long_as_they_are)
{
	struct file *file = mem_file_new("disk.raw", 1 << 20);
	struct mem_inode *inode = mem_file_inode(file);

	memset(inode->bytes + 65536, 1, 4096);
	mem_file_punch(inode, 4096);
	struct layer *layer = open_raw(file);
	struct extent e = ask(layer, 0, 1 << 20, 0);
	cr_assert(e.kind == EXTENT_ZERO && e.len == 65536);
	e = ask(layer, 65536, (1 << 20) - 65536, 0);
	cr_assert(e.kind == EXTENT_DATA && e.len == 4096);
	e = ask(layer, 65536 + 4096, (1 << 20) - 65536 - 4096, 0);
	cr_assert(e.kind == EXTENT_ZERO && e.len == (1 << 20) - 65536 - 4096);
	layer_close(layer);
	file_close(file);
}

Test(raw, holes_are_data_where_they_are_not_to_be_trusted)
{
	struct file *file = mem_file_new("disk.raw", 65536 + 7);

	mem_file_punch(mem_file_inode(file), 4096);
	file->trust_holes = false;
	struct layer *layer = open_raw(file);
	struct extent e = ask(layer, 0, 65536 + 7, 0);
	cr_assert(e.kind == EXTENT_DATA && e.len == 65536 + 7);
	layer_close(layer);
	file_close(file);
}

Test(raw, an_error_of_the_file_system_is_reported)
{
	struct file *file = mem_file_new("disk.raw", 65536);
	struct layer *layer = open_raw(file);
	struct extent e;

	mem_file_inode(file)->read_error = -EIO;
	cr_assert_eq(layer_map_now(layer, 0, 512, &e), -EIO);
	layer_close(layer);
	file_close(file);
}

Test(raw, empty_file_is_an_empty_disk)
{
	struct file *file = mem_file_new("disk.raw", 0);
	struct layer *layer = open_raw(file);

	cr_assert_eq(layer->guest_len, 0);
	cr_assert_eq(layer->cluster_len, 512);
	cr_assert(!layer->has_backing && !layer->refused.read.code);
	layer_close(layer);
	file_close(file);
}

Test(raw, can_not_be_an_overlay_and_says_so)
{
	struct file *file = mem_file_new("a\nb.raw", 512);
	struct layer *layer = open_raw(file);
	struct err err;

	cr_assert_null(layer->ops->fill);
	cr_assert_null(layer->ops->guest_write->publish_write);
	cr_assert_eq(layer_refuse(layer, &layer->refused.read, &err), 0);
	cr_assert_eq(layer_refuse(layer, &layer->refused.write, &err), -ENOTSUP);
	cr_assert(strstr(err.message, "it is raw") && strstr(err.message, "a\\x0ab.raw"), "%s",
		  err.message);
	layer_close(layer);
	file_close(file);
}
