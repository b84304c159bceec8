/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Header extensions, the snapshot table and bitmap directories: the input is the
 * bytes of these areas, the image around them is sound, so that no byte is lost on
 * getting past the header. First byte: which area, and how often it says it has an
 * entry; then the bytes. Judged as any image (judge.c).
 */
#include "io/base.h"
#include "tests/support/images/build_image.h"
#include "tests/fuzz/world.h"

#define CLUSTER_LEN 4096u
#define HEADER_LEN  112u
enum {
	N_SNAPSHOTS_AT = 60,
	SNAPSHOTS_AT = 64,
	AUTOCLEAR_AT = 88,
	BITMAPS_EXT = 0x23852875,
};

static void put(uint8_t *at, unsigned n, uint64_t v)
{
	while (n--) {
		at[n] = (uint8_t)v;
		v >>= 8;
	}
}

/* Two clusters that are counted and not referred to: where the area goes. */
static uint64_t take_space(struct build_image *image)
{
	uint64_t at = build_l2_entry_off(image, 1);
	uint64_t off = build_get64(image, at) & UINT64_C(0x00fffffffffffe00);

	build_put64(image, at, 0);
	build_put64(image, build_l2_entry_off(image, 2), 0);
	return off;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct build_cluster clusters[] = { { 0, BUILD_DATA, 1 },
							 { 1, BUILD_DATA, 2 },
							 { 2, BUILD_DATA, 3 } };
	struct build_how how = { .cluster_bits = 12,
				 .guest_len = 64 * KiB,
				 .backing_name = "b1",
				 .backing_format = "raw",
				 .clusters = clusters,
				 .n_clusters = 3 };
	struct build_image image;
	uint64_t off;
	size_t len;

	if (size < 2)
		return 0;
	image = build_image(&how);
	len = MIN(size - 1, (size_t)CLUSTER_LEN);
	switch (data[0] & 3) {
	case 0: /* extensions: the name behind them is of one byte */
		len = MIN(size - 1, (size_t)(CLUSTER_LEN - HEADER_LEN - 2));
		memcpy(image.bytes + HEADER_LEN, data + 1, len);
		memcpy(image.bytes + CLUSTER_LEN - 2, "b1", 2);
		put(image.bytes + 8, 8, CLUSTER_LEN - 2);
		break;
	case 1:
		off = take_space(&image);
		memcpy(image.bytes + off, data + 1, len);
		put(image.bytes + N_SNAPSHOTS_AT, 4, 1 + (data[0] >> 2) % 8);
		put(image.bytes + SNAPSHOTS_AT, 8, off);
		break;
	default: /* a directory of bitmaps */
		off = take_space(&image);
		memcpy(image.bytes + off, data + 1, len);
		put(image.bytes + HEADER_LEN, 4, BITMAPS_EXT);
		put(image.bytes + HEADER_LEN + 4, 4, 24);
		put(image.bytes + HEADER_LEN + 8, 4, 1 + (data[0] >> 2) % 8);
		put(image.bytes + HEADER_LEN + 12, 4, 0);
		put(image.bytes + HEADER_LEN + 16, 8, len);
		put(image.bytes + HEADER_LEN + 24, 8, off);
		memset(image.bytes + HEADER_LEN + 32, 0, 8);
		memcpy(image.bytes + CLUSTER_LEN - 2, "b1", 2);
		put(image.bytes + 8, 8, CLUSTER_LEN - 2);
		put(image.bytes + AUTOCLEAR_AT, 8, data[0] & 1);
		break;
	}
	fuzz_image(IMAGE_QCOW2, image.bytes, image.len);
	build_image_free(&image);
	return 0;
}
