/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Writing compressed clusters: what is encoded decodes, with QEMU's 12-bit
 * window too; space is packed without a sector between, never beyond what the
 * refcounts can say; and the header's type changes only where it may.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <zlib.h>

#include "formats/core/codecs.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/compress/decode.h"
#include "formats/qcow2/compress/encode.h"
#include "formats/qcow2/create.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/open.h"
#include "formats/qcow2/snapshots/fill.h"
#include "formats/qcow2/space/compressed_space.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/space.h"
#include "formats/qcow2/write/publish.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

#define MAX_CLUSTER_LEN (2u << 20)

static uint8_t plain[MAX_CLUSTER_LEN], packed[MAX_CLUSTER_LEN], out[MAX_CLUSTER_LEN];

/* Contexts are used for one kind of cluster after the other. */
static struct codecs *codecs;

static void make_codecs(void)
{
	codecs = codecs_new();
	cr_assert(codecs);
}

static void free_codecs(void)
{
	codecs_free(codecs);
}

TestSuite(qcow2_compress, .init = make_codecs, .fini = free_codecs);

/* ---- encode ---- */

/* Text-like for 0; random bytes that come again `distance` bytes later. */
static void fill(uint32_t len, uint32_t distance, uint32_t seed)
{
	uint64_t state = seed;

	build_fill(plain, len, seed);
	for (uint32_t i = 0; distance && i < len; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		plain[i] = i < distance ? state >> 56 : plain[i - distance];
	}
}

/* A reader that has the window and nothing else: bytes leave it one by one. */
static void assert_inflates_in_12_bits(uint32_t packed_len, uint32_t len)
{
	z_stream stream = { .next_in = packed, .avail_in = packed_len };
	int rc = inflateInit2(&stream, -12);

	for (uint32_t at = 0; at < len && rc == Z_OK; at++) {
		uint8_t byte;

		stream.next_out = &byte;
		stream.avail_out = 1;
		rc = inflate(&stream, Z_SYNC_FLUSH);
		cr_assert_eq(stream.avail_out, 0, "at %u: %s", at,
			     stream.msg ? stream.msg : "no byte");
		cr_assert_eq(byte, plain[at]);
	}
	cr_assert(rc == Z_OK || rc == Z_STREAM_END);
	inflateEnd(&stream);
}

static void round_trip(enum qcow2_compression type, uint32_t len, unsigned level, uint32_t distance,
		       bool must_shrink)
{
	struct qcow2 q = { .layer.cluster_len = len, .hdr.compression = type, .codecs = codecs };
	int n;

	fill(len, distance, len + level);
	n = qcow2_encode(&q.layer, level, plain, packed, len - 512);
	cr_assert_geq(n, 0);
	cr_assert_leq(n, (int)len - 512);
	cr_assert(n || !must_shrink, "type %d, %u bytes, level %u, distance %u", type, len, level,
		  distance);
	if (!n)
		return;
	if (type == QCOW2_COMPRESSION_ZLIB)
		assert_inflates_in_12_bits(n, len);
	memset(packed + n, 0, round_up(n, 512) - n);
	memset(out, 0x5c, len);
	cr_assert_eq(qcow2_decode(&q.layer, packed, round_up(n, 512), out), 0);
	cr_assert_arr_eq(out, plain, len);
}

Test(qcow2_compress, what_is_encoded_decodes)
{
	for (uint32_t len = 1024; len <= MAX_CLUSTER_LEN; len *= 2)
		for (unsigned level = 0; level <= 9; level += 3) {
			round_trip(QCOW2_COMPRESSION_ZLIB, len, level, 0, true);
			round_trip(QCOW2_COMPRESSION_ZSTD, len, level, 0, true);
		}
	round_trip(QCOW2_COMPRESSION_ZSTD, 65536, 19, 0, true);
	round_trip(QCOW2_COMPRESSION_ZLIB, 4096, 9, 0, true);
}

Test(qcow2_compress, far_repeats_stay_inside_the_window)
{
	static const uint32_t distances[] = { 3000, 4095, 4096, 5000, 8192, 20000, 32768 };

	for (size_t i = 0; i < ARRAY_LEN(distances); i++) {
		round_trip(QCOW2_COMPRESSION_ZLIB, 65536, 6, distances[i], distances[i] < 3800);
		round_trip(QCOW2_COMPRESSION_ZLIB, MAX_CLUSTER_LEN, 9, distances[i],
			   distances[i] < 3800);
		round_trip(QCOW2_COMPRESSION_ZSTD, 65536, 0, distances[i], true);
	}
}

Test(qcow2_compress, random_bytes_do_not_shrink)
{
	for (uint32_t len = 1024; len <= 65536; len *= 2)
		for (int type = 0; type < 2; type++) {
			struct qcow2 q = { .layer.cluster_len = len,
					   .hdr.compression = type,
					   .codecs = codecs };

			fill(len, len, 5);
			cr_assert_eq(qcow2_encode(&q.layer, 0, plain, packed, len - 512), 0);
		}
}

/* ---- space ---- */

struct rig {
	struct file *file;
	struct table_cache *cache;
	struct layer *layer;
	struct qcow2 *q;
};

static struct rig rig_open(unsigned cluster_bits, unsigned refcount_bits)
{
	struct image_create how = {
		.guest_len = UINT64_C(400) << cluster_bits,
		.cluster_len = 1u << cluster_bits,
		.refcount_bits = refcount_bits,
		.backing_name = "b",
		.backing_format = IMAGE_RAW,
	};
	struct rig r = { .file = mem_file_new("img", 0), .cache = table_cache_new(4 * MiB) };
	struct err err = { 0 };

	cr_assert_eq(qcow2_create(r.file, &how, &err), 0, "%s", err.message);
	cr_assert_eq(qcow2_open(r.file, r.cache, &r.layer, &err), 0, "%s", err.message);
	cr_assert_eq(layer_begin_writing(r.layer, &err), 0, "%s", err.message);
	r.q = qcow2_of(r.layer);
	return r;
}

static void rig_close(struct rig *r)
{
	table_cache_forget(r->cache, r->file);
	layer_close(r->layer);
	table_cache_free(r->cache);
	file_close(r->file);
}

static void publish(struct rig *r, const struct mapping *map)
{
	struct table_need need;
	int rc;

	while ((rc = layer_publish(r->layer, map, 1, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(r->cache, &need), 0);
	cr_assert_eq(rc, 0, "%s", strerror(-rc));
}

static uint64_t refs_of(struct rig *r, uint64_t host_idx)
{
	struct table_need need;
	uint64_t refs;
	int rc;

	while ((rc = qcow2_ref_get(r->q, host_idx, &refs, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(r->cache, &need), 0);
	cr_assert_eq(rc, 0);
	return refs;
}

/* Publishes compressed clusters of drawn lengths, plain ones in between and some that are given up,
 * and counts by itself what the refcounts must be. */
static void pack(unsigned cluster_bits, unsigned refcount_bits)
{
	struct rig r = rig_open(cluster_bits, refcount_bits);
	uint32_t cluster_len = 1u << cluster_bits, want[4096] = { 0 };
	uint64_t max = refcount_bits >= 32 ? UINT32_MAX : (UINT64_C(1) << refcount_bits) - 1;
	uint64_t state = cluster_bits * 64 + refcount_bits, last_end = 0;
	unsigned n_behind = 0, n_shared = 0;

	for (unsigned i = 0; i < 300; i++) {
		struct mapping map = { .guest_off = (uint64_t)i << cluster_bits,
				       .len = cluster_len };
		uint64_t got, first, last;

		state = state * 6364136223846793005u + 1442695040888963407u;
		if (state >> 60 == 0) {
			cr_assert_eq(qcow2_reserve(r.layer, cluster_len, &map.host_off, &got), 0);
			publish(&r, &map);
			want[map.host_off >> cluster_bits]++;
			continue;
		}
		map.comp_len = (1 + (state >> 33) % (cluster_len / 512 - 1)) * 512;
		cr_assert_eq(qcow2_reserve_bytes(r.layer, 0, map.comp_len, &map.host_off, NULL), 0);
		cr_assert(is_aligned(map.host_off, 512));
		cr_assert_geq(map.host_off, last_end);
		n_behind += map.host_off == last_end;
		last_end = map.host_off + map.comp_len;
		if (state >> 61 == 1)
			continue; /* its run failed */
		publish(&r, &map);
		first = map.host_off >> cluster_bits;
		last = (last_end - 1) >> cluster_bits;
		cr_assert_leq(last, first + 1);
		want[first]++;
		want[last] += last != first;
		n_shared += want[first] > 1;
	}
	for (uint64_t idx = 0; idx < ARRAY_LEN(want) && idx << cluster_bits < r.layer->alloc_end;
	     idx++) {
		cr_assert_leq(want[idx], max, "cluster %" PRIu64, idx);
		if (want[idx])
			cr_assert_eq(refs_of(&r, idx), want[idx], "cluster %" PRIu64, idx);
	}
	cr_assert(refcount_bits == 1 ? !n_shared : n_shared, "%u shared", n_shared);
	cr_assert(refcount_bits == 1 || n_behind > 50, "%u one behind the other", n_behind);
	rig_close(&r);
}

Test(qcow2_compress, packed_within_every_refcount_width)
{
	for (unsigned bits = 1; bits <= 64; bits *= 2) {
		pack(12, bits);
		pack(16, bits);
	}
	pack(10, 2); /* two lengths only */
}

Test(qcow2_compress, a_cluster_that_is_none_is_refused)
{
	struct rig r = rig_open(12, 16);
	uint64_t host_off;

	cr_assert_eq(qcow2_reserve_bytes(r.layer, 0, 0, &host_off, NULL), -EINVAL);
	cr_assert_eq(qcow2_reserve_bytes(r.layer, 0, 4096, &host_off, NULL), -EINVAL);
	cr_assert_eq(qcow2_reserve_bytes(r.layer, 0, 3585, &host_off, NULL), -EINVAL);
	cr_assert_eq(qcow2_reserve_bytes(r.layer, 0, 3584, &host_off, NULL), 0);
	rig_close(&r);
}

/* Several entries for one cluster: counted as many times, never above the width. */
Test(qcow2_compress, a_packed_cluster_is_counted_up_to_the_width)
{
	struct rig r = rig_open(12, 4);
	uint64_t first, host_off, n_in_first = 0;

	cr_assert_eq(qcow2_comp_reserve(r.q, 512, 16, &host_off), -ERANGE);
	cr_assert_eq(qcow2_comp_reserve(r.q, 512, 4, &first), 0);
	for (host_off = first; host_off >> 12 == first >> 12; n_in_first++)
		cr_assert_eq(qcow2_comp_reserve(r.q, 512, 4, &host_off), 0);
	cr_assert_eq(n_in_first, 3, "%" PRIu64 " times 4 references", n_in_first);
	cr_assert_eq(host_off, (first | 4095) + 1);
	rig_close(&r);
}

/* Going back to a snapshot counts each of its clusters once more, before it lets others go. */
Test(qcow2_compress, half_of_a_count_stays_free_for_snapshots)
{
	struct rig r = rig_open(12, 4);
	uint64_t first, host_off, n_in_first = 0;

	r.q->hdr.n_snapshots = 1;
	cr_assert_eq(qcow2_comp_reserve(r.q, 512, 1, &first), 0);
	for (host_off = first; host_off >> 12 == first >> 12; n_in_first++)
		cr_assert_eq(qcow2_comp_reserve(r.q, 512, 1, &host_off), 0);
	cr_assert_eq(n_in_first, 7, "%" PRIu64 " references, twice that and one are counted",
		     n_in_first);
	/* More than half at once has a host cluster of its own. */
	cr_assert_eq(qcow2_comp_reserve(r.q, 512, 15, &first), 0);
	cr_assert_neq(first >> 12, host_off >> 12);
	r.q->hdr.n_snapshots = 0;
	rig_close(&r);
}

/* A count that another owner raised meanwhile is not made to overflow. */
Test(qcow2_compress, a_full_refcount_is_not_raised)
{
	struct rig r = rig_open(12, 2);
	struct mapping map = { .len = 4096, .comp_len = 1024 };
	struct table_need need;
	int rc;

	cr_assert_eq(qcow2_reserve_bytes(r.layer, 0, map.comp_len, &map.host_off, NULL), 0);
	refs_of(&r, map.host_off >> 12);
	qcow2_ref_set(r.q, map.host_off >> 12, 1, 3);
	while ((rc = qcow2_publish(r.layer, &map, 1, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(r.cache, &need), 0);
	cr_assert_eq(rc, -EUCLEAN);
	cr_assert_eq(refs_of(&r, map.host_off >> 12), 3);
	rig_close(&r);
}

/* ---- the descriptor ---- */

Test(qcow2_compress, entries_say_where_and_how_long)
{
	for (unsigned bits = 10; bits <= 21; bits++) {
		struct qcow2 q = { .cluster_bits = bits, .layer.cluster_len = 1u << bits };
		uint64_t top = (UINT64_C(1) << MIN(qcow2_comp_off_bits(bits), 56u)) - (1u << bits);

		for (uint32_t len = 512; len < 1u << bits; len += 512 * (1 + len / 4096)) {
			struct mapping map = { .host_off = top, .comp_len = len };
			uint64_t entry = qcow2_comp_entry(&q, &map);

			cr_assert_eq(entry >> 62, 1, "COPIED or not compressed");
			cr_assert_eq(qcow2_comp_host_off(entry, bits), top);
			cr_assert_eq(qcow2_comp_host_len(entry, bits), len);
		}
	}
}

Test(qcow2_compress, levels_outside_the_range_are_refused)
{
	struct rig r = rig_open(16, 16);
	struct err err = { 0 };

	cr_assert_eq(qcow2_may_compress(r.layer, COMPRESSION_ZLIB, 9, &err), 0);
	cr_assert_eq(qcow2_may_compress(r.layer, COMPRESSION_ZLIB, 10, &err), -EINVAL);
	cr_assert_eq(qcow2_may_compress(r.layer, COMPRESSION_ZSTD, 19, &err), 0);
	cr_assert_eq(qcow2_may_compress(r.layer, COMPRESSION_ZSTD, 20, &err), -EINVAL);
	rig_close(&r);
}
