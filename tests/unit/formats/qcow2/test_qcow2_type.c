/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The type of compressed clusters in qcow2 headers: where it may change, and where it stays. */
#include <criterion/criterion.h>
#include <errno.h>
#include <zlib.h>

#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/compress/decode.h"
#include "formats/qcow2/compress/encode.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/open.h"
#include "formats/qcow2/snapshots/fill.h"
#include "formats/qcow2/space/space.h"
#include "formats/qcow2/write/publish.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

/* ---- the header's type ---- */

static int switch_type(struct build_how *how, enum layer_compression type, struct err *err,
		       uint8_t *header, bool *written)
{
	struct build_image built = build_image(how);
	struct file *file = mem_file_new("img", built.len);
	struct table_cache *cache = table_cache_new(MiB);
	bool is_unknown = false;
	uint64_t n_writes;
	struct layer *layer;
	int rc;

	memcpy(mem_file_inode(file)->bytes, built.bytes, built.len);
	cr_assert_eq(qcow2_open(file, cache, &layer, err), 0, "%s", err->message);
	rc = layer_may_compress(layer, type, 0, err);
	n_writes = mem_file_inode(file)->n_writes;
	cr_assert_eq(n_writes, 0, "asking wrote");
	if (!rc)
		rc = layer_set_compression(layer, type, &is_unknown, err);
	cr_assert_not(is_unknown);
	*written = mem_file_inode(file)->n_writes;
	cr_assert_leq(mem_file_inode(file)->n_writes, 1);
	cr_assert_eq(mem_file_inode(file)->n_syncs, *written);
	memcpy(header, mem_file_inode(file)->bytes, 512);
	for (unsigned i = 0; i < 512; i++)
		cr_assert(header[i] == built.bytes[i] || i == 79 || i == 104, "byte %u changed", i);
	table_cache_forget(cache, file);
	layer_close(layer);
	table_cache_free(cache);
	file_close(file);
	build_image_free(&built);
	return rc;
}

Test(qcow2_compress, the_type_changes_where_nothing_is_compressed)
{
	struct build_cluster cluster = { 3, BUILD_DATA, 1 };
	struct build_how how = { .guest_len = MiB, .clusters = &cluster, .n_clusters = 1 };
	struct err err = { 0 };
	uint8_t header[512];
	bool written;

	cr_assert_eq(switch_type(&how, COMPRESSION_OWN, &err, header, &written), 0);
	cr_assert(!written);
	cr_assert_eq(switch_type(&how, COMPRESSION_ZLIB, &err, header, &written), 0);
	cr_assert(!written);
	cr_assert_eq(switch_type(&how, COMPRESSION_ZSTD, &err, header, &written), 0);
	cr_assert(written && header[104] == 1 && header[79] == 8);
	how.zstd = true;
	cr_assert_eq(switch_type(&how, COMPRESSION_OWN, &err, header, &written), 0);
	cr_assert(!written);
	cr_assert_eq(switch_type(&how, COMPRESSION_ZLIB, &err, header, &written), 0);
	cr_assert(written && header[104] == 0 && header[79] == 0);
	cluster.kind = BUILD_COMPRESSED;
	cr_assert_eq(switch_type(&how, COMPRESSION_ZSTD, &err, header, &written), 0);
}

Test(qcow2_compress, the_type_stays_where_it_must)
{
	struct build_cluster cluster = { 3, BUILD_COMPRESSED, 1 };
	struct build_how how = { .guest_len = MiB, .clusters = &cluster, .n_clusters = 1 };
	struct err err = { 0 };
	uint8_t header[512];
	bool written;

	cr_assert_eq(switch_type(&how, COMPRESSION_ZSTD, &err, header, &written), -ENOTSUP);
	cr_assert(strstr(err.message, "compressed with zlib"), "%s", err.message);
	cluster.kind = BUILD_DATA;
	how.version = 2;
	cr_assert_eq(switch_type(&how, COMPRESSION_ZSTD, &err, header, &written), -ENOTSUP);
	cr_assert(strstr(err.message, "ersion 2"), "%s", err.message);
	cr_assert_eq(switch_type(&how, COMPRESSION_ZLIB, &err, header, &written), 0);
	how.version = 3;
	how.header_len = 104;
	cr_assert_eq(switch_type(&how, COMPRESSION_ZSTD, &err, header, &written), -ENOTSUP);
	cr_assert(strstr(err.message, "104 bytes"), "%s", err.message);
	cr_assert(!written);
}

/* The guest's disk has let go of all that was compressed, and a snapshot reads it still. */
Test(qcow2_compress, the_type_stays_for_a_snapshot)
{
	struct build_cluster cluster = { 3, BUILD_COMPRESSED, 1 };
	struct build_how how = {
		.guest_len = MiB, .clusters = &cluster, .n_clusters = 1, .n_snapshots = 1
	};
	struct build_image built = build_image(&how);
	struct table_cache *cache = table_cache_new(MiB);
	struct file *file = mem_file_new("img", built.len);
	struct err err = { 0 };
	struct layer *layer;

	build_put64(&built, built.l1_off, 0);
	memcpy(mem_file_inode(file)->bytes, built.bytes, built.len);
	cr_assert_eq(qcow2_open(file, cache, &layer, &err), 0, "%s", err.message);
	cr_assert_eq(layer_may_compress(layer, COMPRESSION_ZSTD, 0, &err), -ENOTSUP);
	cr_assert(strstr(err.message, "compressed with zlib"), "%s", err.message);
	table_cache_forget(cache, file);
	layer_close(layer);
	table_cache_free(cache);
	file_close(file);
	build_image_free(&built);
}
