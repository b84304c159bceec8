/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What looks at every byte: is it zero, and what was it before it was
 * compressed. Text-like bytes that shrink to about a third; random ones would
 * measure a copy, and one repeated byte nothing at all.
 */
#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "bench/micro/micro.h"
#include "engine/core/ranges/zero.h"
#include "formats/qcow2/compress/decode.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"

#define CLUSTER_LEN 65536u
#define ZERO_LEN    (1u << 20)

struct packed {
	size_t len;
	uint8_t bytes[CLUSTER_LEN];
};

static uint8_t *zeros;
static uint8_t plain[CLUSTER_LEN], out[CLUSTER_LEN];
static struct packed zlib_cluster, zstd_cluster;

static void make_plain(void)
{
	static const char *const words[] = { "cluster ", "of the ", "overlay ", "reads\n",
					     "0x7f",     "backing", " chain, ", "is " };
	uint64_t rng = 42;

	for (size_t at = 0; at < CLUSTER_LEN;) {
		const char *word;
		size_t len;

		rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407;
		word = words[rng >> 61];
		len = MIN(strlen(word), CLUSTER_LEN - at);

		memcpy(plain + at, word, len);
		at += len;
		if (at < CLUSTER_LEN && rng >> 40 & 1)
			plain[at++] = (uint8_t)(rng >> 32);
	}
}

int micro_bytes_open(void)
{
	struct libdeflate_compressor *zlib = libdeflate_alloc_compressor(6);

	make_plain();
	zeros = aligned_alloc(4096, ZERO_LEN);
	if (!zeros || !zlib)
		return -ENOMEM;
	memset(zeros, 0, ZERO_LEN);
	zlib_cluster.len = libdeflate_deflate_compress(zlib, plain, CLUSTER_LEN, zlib_cluster.bytes,
						       CLUSTER_LEN);
	libdeflate_free_compressor(zlib);
	zstd_cluster.len = ZSTD_compress(zstd_cluster.bytes, CLUSTER_LEN, plain, CLUSTER_LEN, 3);
	return !zlib_cluster.len || ZSTD_isError(zstd_cluster.len) ? -EIO : 0;
}

void micro_bytes_close(void)
{
	free(zeros);
}

static int zero_scan(uint64_t n)
{
	while (n--)
		if (!zero_is(zeros, ZERO_LEN))
			return -EIO;
	return 0;
}

static int decode(enum qcow2_compression compression, const struct packed *from, uint64_t n)
{
	struct qcow2 q = { .layer.cluster_len = CLUSTER_LEN, .hdr.compression = compression };
	int rc = 0;

	while (n-- && !rc)
		rc = qcow2_decode(&q.layer, from->bytes, from->len, out);
	return rc ? rc : memcmp(out, plain, CLUSTER_LEN) ? -EIO : 0;
}

static int inflate_zlib(uint64_t n)
{
	return decode(QCOW2_COMPRESSION_ZLIB, &zlib_cluster, n);
}

static int inflate_zstd(uint64_t n)
{
	return decode(QCOW2_COMPRESSION_ZSTD, &zstd_cluster, n);
}

const struct micro micro_bytes[] = {
	{ "zero-scan", "bytes", ZERO_LEN, zero_scan },
	{ "inflate-zlib", "clusters", 1, inflate_zlib },
	{ "inflate-zstd", "clusters", 1, inflate_zstd },
};
const unsigned n_micro_bytes = ARRAY_LEN(micro_bytes);
