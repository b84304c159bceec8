/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Header extensions: what a sound image records is found, whatever lies around
 * it, and every malformed one is refused with a sentence.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/extensions.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/open.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

#define FORMAT   QCOW2_EXT_BACKING_FORMAT
#define FEATURES QCOW2_EXT_FEATURE_NAMES

struct opened {
	struct file *file;
	struct layer *layer; /* NULL where opening failed */
	struct err err;
};

static struct opened open_bytes(const uint8_t *bytes, size_t len)
{
	struct opened o = { .file = mem_file_new("img", len) };

	memcpy(mem_file_inode(o.file)->bytes, bytes, len);
	if (qcow2_open(o.file, NULL, &o.layer, &o.err))
		o.layer = NULL;
	return o;
}

static struct opened open_built(const struct build_how *how)
{
	struct build_image image = build_image(how);
	struct opened o = open_bytes(image.bytes, image.len);

	build_image_free(&image);
	return o;
}

static void close_opened(struct opened *o)
{
	layer_close(o->layer);
	file_close(o->file);
}

static void assert_refused(const struct build_how *how, const char *sentence)
{
	struct opened o = open_built(how);

	cr_assert_null(o.layer, "opened, expected: %s", sentence);
	cr_assert_eq(o.err.code, -EUCLEAN, "%d %s", o.err.code, o.err.message);
	cr_assert(strstr(o.err.message, sentence), "\"%s\" is not in \"%s\"", sentence,
		  o.err.message);
	close_opened(&o);
}

Test(qcow2_ext, backing_format_is_found_among_unknown_extensions)
{
	static const struct build_ext exts[] = {
		{ 0x11111111, "abc", 3 },
		{ 0x22222222, NULL, 0 },
		{ 0x11111111, "abcdefgh", 8 },
	};
	static const unsigned versions[] = { 2, 3 };
	static const uint32_t header_lens[] = { 0, 104, 120, 256 };

	for (size_t v = 0; v < 2; v++)
		for (size_t h = 0; h < (versions[v] == 2 ? 1 : 4); h++) {
			struct build_how how = {
				.version = versions[v],
				.cluster_bits = 9,
				.guest_len = 1 << 20,
				.header_len = header_lens[h],
				.backing_name = "base",
				.backing_format = "qed",
				.exts = exts,
				.n_exts = 3,
			};
			struct opened o = open_built(&how);

			cr_assert(o.layer, "%s", o.err.message);
			cr_assert_eq(o.layer->backing.format, IMAGE_QED);
			cr_assert_str_eq(o.layer->backing.format_name, "");
			cr_assert_str_eq(o.layer->backing.name, "base");
			close_opened(&o);
		}
}

/* The last extension's padding need not be there: the name begins behind its bytes. */
Test(qcow2_ext, a_name_may_begin_in_the_padding)
{
	static const uint8_t data[8];

	for (uint32_t len = 1; len <= 8; len++)
		for (unsigned version = 2; version <= 3; version++) {
			struct build_ext ext = { 0x11111111, data, len };
			struct build_how how = { .version = version,
						 .cluster_bits = 9,
						 .guest_len = 1 << 20,
						 .exts = &ext,
						 .n_exts = 1 };
			struct build_image image = build_image(&how);
			size_t off = (version == 2 ? 72 : 112) + 8 + len;
			struct opened o;

			/* Taken for extensions, these bytes would be damage. */
			memset(image.bytes + off, 'n', 40);
			put_be64(image.bytes + QCOW2_H_BACKING_OFF, off);
			put_be32(image.bytes + QCOW2_H_BACKING_LEN, 40);
			o = open_bytes(image.bytes, image.len);
			cr_assert(o.layer, "%u bytes: %s", len, o.err.message);
			cr_assert_eq(strlen(o.layer->backing.name), 40);
			close_opened(&o);
			build_image_free(&image);
		}
}

Test(qcow2_ext, unknown_backing_format_keeps_its_name)
{
	struct build_how how = { .guest_len = 4096, .backing_name = "b", .backing_format = "vmdk" };
	struct opened o = open_built(&how);

	cr_assert(o.layer, "%s", o.err.message);
	cr_assert_eq(o.layer->backing.format, IMAGE_UNKNOWN);
	cr_assert_str_eq(o.layer->backing.format_name, "vmdk");
	close_opened(&o);
}

Test(qcow2_ext, bitmaps_need_their_autoclear_bit)
{
	uint8_t data[24] = { 0 };
	struct build_ext ext = { QCOW2_EXT_BITMAPS, data, sizeof(data) };
	struct build_how how = { .guest_len = 4096, .exts = &ext, .n_exts = 1 };
	struct opened o;

	put_be32(data, 3);
	put_be64(data + 8, 96);
	put_be64(data + 16, 0x50000);
	o = open_built(&how);
	cr_assert(o.layer, "%s", o.err.message);
	cr_assert(!qcow2_of(o.layer)->bitmaps.is_present, "stale bitmaps");
	close_opened(&o);

	how.autoclear = QCOW2_AUTOCLEAR_BITMAPS;
	o = open_built(&how);
	cr_assert(o.layer, "%s", o.err.message);
	cr_assert(qcow2_of(o.layer)->bitmaps.is_present);
	cr_assert_eq(qcow2_of(o.layer)->bitmaps.n, 3);
	cr_assert_eq(qcow2_of(o.layer)->bitmaps.dir_len, 96);
	cr_assert_eq(qcow2_of(o.layer)->bitmaps.dir_off, 0x50000);
	close_opened(&o);
}

Test(qcow2_ext, malformed_bitmaps_are_refused)
{
	static const struct {
		uint32_t n, reserved;
		uint64_t len, off;
		uint32_t ext_len;
		const char *sentence;
	} cases[] = {
		{ 1, 0, 32, 0x10000, 16, "describes bitmaps in 16 bytes" },
		{ 0, 0, 32, 0x10000, 24, "claims 0 bitmaps" },
		{ 65536, 0, 32, 0x10000, 24, "claims 65536 bitmaps" },
		{ 1, 1, 32, 0x10000, 24, "reserved field" },
		{ 1, 0, 0, 0x10000, 24, "directory of 0 bytes" },
		{ 1, 0, UINT64_MAX, 0x10000, 24, "directory of 18446744073709551615 bytes" },
		{ 1, 0, 32, 0x10200, 24, "not on a cluster of its own" },
		{ 1, 0, 32, 0, 24, "not on a cluster of its own" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t data[24];
		struct build_ext ext = { QCOW2_EXT_BITMAPS, data, cases[i].ext_len };
		struct build_how how = {
			.guest_len = 4096,
			.exts = &ext,
			.n_exts = 1,
			.autoclear = QCOW2_AUTOCLEAR_BITMAPS,
		};

		put_be32(data, cases[i].n);
		put_be32(data + 4, cases[i].reserved);
		put_be64(data + 8, cases[i].len);
		put_be64(data + 16, cases[i].off);
		assert_refused(&how, cases[i].sentence);
	}
}

Test(qcow2_ext, luks_header_and_method_go_together)
{
	uint8_t data[16];
	struct build_ext ext = { QCOW2_EXT_LUKS, data, sizeof(data) };
	struct build_how how = { .guest_len = 4096, .exts = &ext, .n_exts = 1 };
	struct build_image image;
	struct opened o;

	put_be64(data, 0x40000);
	put_be64(data + 8, 1000);
	assert_refused(&how, "the image is not LUKS");

	image = build_image(&how);
	put_be32(image.bytes + QCOW2_H_CRYPT, 2);
	o = open_bytes(image.bytes, image.len);
	cr_assert(o.layer, "%s", o.err.message);
	cr_assert(qcow2_of(o.layer)->luks.is_present);
	cr_assert_eq(qcow2_of(o.layer)->luks.off, 0x40000);
	cr_assert_eq(qcow2_of(o.layer)->luks.len, 1000);
	close_opened(&o);
	build_image_free(&image);

	how.n_exts = 0;
	image = build_image(&how);
	put_be32(image.bytes + QCOW2_H_CRYPT, 2);
	o = open_bytes(image.bytes, image.len);
	cr_assert_null(o.layer);
	cr_assert(strstr(o.err.message, "without a LUKS header"), "%s", o.err.message);
	close_opened(&o);
	build_image_free(&image);
}

Test(qcow2_ext, data_file_name_is_kept)
{
	struct build_ext ext = { QCOW2_EXT_DATA_FILE, "data.raw", 8 };
	struct build_how how = {
		.guest_len = 4096,
		.exts = &ext,
		.n_exts = 1,
		.incompat = QCOW2_INCOMPAT_DATA_FILE,
	};
	struct opened o = open_built(&how);

	cr_assert(o.layer, "%s", o.err.message);
	cr_assert_str_eq(qcow2_of(o.layer)->data_file_name, "data.raw");
	close_opened(&o);
}

Test(qcow2_ext, ambiguous_strings_are_refused)
{
	struct build_ext twice[] = { { FORMAT, "raw", 3 }, { FORMAT, "qcow2", 5 } };
	struct build_ext nul = { FORMAT, "raw\0qcow2", 9 };
	struct build_ext longer = { FORMAT, "0123456789abcdef0123456789abcdef", 32 };
	struct build_ext data_nul = { QCOW2_EXT_DATA_FILE, "a\0b", 3 };
	struct build_how how = { .guest_len = 4096, .backing_name = "b" };

	how.exts = twice;
	how.n_exts = 2;
	assert_refused(&how, "is there twice");
	how.n_exts = 1;
	how.exts = &nul;
	assert_refused(&how, "NUL byte");
	how.exts = &longer;
	assert_refused(&how, "32 bytes");
	how.exts = &data_nul;
	assert_refused(&how, "NUL byte");
}

/* Any length behind the last byte there is room for is refused, every other is not. */
Test(qcow2_ext, length_is_bounded_by_the_area)
{
	static const uint32_t lens[] = { 0xffffffff, 0xfffffff8, 0x80000000, 512, 393, 392, 0 };

	for (int named = 0; named < 2; named++)
		for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
			struct build_how how = { .cluster_bits = 9, .guest_len = 4096 };
			struct build_image image = build_image(&how);
			struct opened o;
			/* The area ends with the cluster, or before a name at byte 400. */
			uint32_t room = named ? 400 - 120 : 512 - 120;

			put_be32(image.bytes + 112, 0x12345678);
			put_be32(image.bytes + 116, lens[i]);
			if (named) {
				put_be64(image.bytes + QCOW2_H_BACKING_OFF, 400);
				put_be32(image.bytes + QCOW2_H_BACKING_LEN, 1);
				image.bytes[400] = 'b';
			}
			o = open_bytes(image.bytes, image.len);
			cr_assert_eq(!!o.layer, lens[i] <= room, "length %u of %u: %s", lens[i],
				     room, o.err.message);
			if (!o.layer)
				cr_assert(strstr(o.err.message, "more than there is room for"));
			close_opened(&o);
			build_image_free(&image);
		}
}

/* The name may end the area; but QEMU takes up to seven bytes in front of it for the beginning of
 * one more extension, which goes on in the name. */
Test(qcow2_ext, area_may_end_without_a_marker)
{
	struct build_how how = { .cluster_bits = 9, .guest_len = 4096 };
	struct build_image image = build_image(&how);

	for (uint32_t name_at = 120 + 16; name_at < 120 + 16 + 8; name_at++) {
		struct opened o;

		memset(image.bytes + 112, 0xee, 400);
		put_be32(image.bytes + 112, FORMAT);
		put_be32(image.bytes + 116, 3);
		memcpy(image.bytes + 120, "raw", 3);
		put_be32(image.bytes + 128, 0x12345678);
		put_be32(image.bytes + 132, 0);
		put_be64(image.bytes + QCOW2_H_BACKING_OFF, name_at);
		put_be32(image.bytes + QCOW2_H_BACKING_LEN, 1);
		o = open_bytes(image.bytes, image.len);
		cr_assert_eq(!!o.layer, name_at == 120 + 16, "name at %u: %s", name_at,
			     o.err.message);
		if (o.layer)
			cr_assert_eq(o.layer->backing.format, IMAGE_RAW);
		else
			cr_assert(strstr(o.err.message, "cut off by the backing file's name"));
		close_opened(&o);
	}
	build_image_free(&image);
}

Test(qcow2_ext, feature_is_named_as_recorded_and_escaped)
{
	uint8_t table[4 * 48 + 7] = { 0 };
	struct build_ext ext = { FEATURES, table, sizeof(table) };
	struct build_how how = { .cluster_bits = 12, .guest_len = 4096, .exts = &ext, .n_exts = 1 };
	struct build_image image;
	char name[128];

	table[0] = 1; /* a compatible feature of the same number comes first */
	table[1] = 40;
	memcpy(table + 2, "compatible", 10);
	table[48 + 1] = 40;
	memcpy(table + 48 + 2, "frob\033[2J", 8);
	table[96 + 1] = 41;
	memset(table + 96 + 2, 'x', 46); /* full length: no NUL */
	table[144 + 1] = 42;             /* no name */
	image = build_image(&how);
	qcow2_feature_name(image.bytes, 4096, 112, 40, name, sizeof(name));
	cr_assert_str_eq(name, "frob\\x1b[2J");
	qcow2_feature_name(image.bytes, 4096, 112, 41, name, sizeof(name));
	cr_assert_eq(strlen(name), 46, "%s", name);
	qcow2_feature_name(image.bytes, 4096, 112, 42, name, sizeof(name));
	cr_assert_str_eq(name, "bit 42");
	qcow2_feature_name(image.bytes, 4096, 112, 5, name, sizeof(name));
	cr_assert_str_eq(name, "bit 5");
	build_image_free(&image);
}

Test(qcow2_ext, unknown_incompatible_feature_is_refused_by_name)
{
	uint8_t table[48] = { 0, 40, 'w', 'a', 'r', 'p' };
	struct build_ext ext = { FEATURES, table, sizeof(table) };
	struct build_how how = {
		.guest_len = 4096,
		.exts = &ext,
		.n_exts = 1,
		.incompat = UINT64_C(1) << 40,
	};
	struct opened o = open_built(&how);

	cr_assert(o.layer, "info must be able to describe it: %s", o.err.message);
	cr_assert_eq(o.layer->refused.read.code, -ENOTSUP);
	cr_assert(strstr(o.layer->refused.read.why, "warp"), "%s", o.layer->refused.read.why);
	close_opened(&o);
}
