/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Decoding compressed clusters: whole clusters come out right whatever follows
 * them in the input, and everything else is -EUCLEAN without a byte written behind
 * the cluster.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/core/codecs.h"
#include "formats/qcow2/compress/decode.h"
#include "formats/qcow2/image/image.h"
#include "tests/support/images/build_image.h"
#include "tests/support/random.h"

#define CLUSTER_LEN 65536u
#define CANARY_LEN  4096u
#define PACKED_CAP  (3 * CLUSTER_LEN)

static uint8_t plain[2 * CLUSTER_LEN], packed[PACKED_CAP], out[CLUSTER_LEN + CANARY_LEN];

/* What one cluster leaves in a context must not show in the next one. */
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

TestSuite(qcow2_compressed, .init = make_codecs, .fini = free_codecs);

static struct qcow2 image(enum qcow2_compression compression)
{
	return (struct qcow2){ .layer.cluster_len = CLUSTER_LEN,
			       .hdr.compression = compression,
			       .codecs = codecs };
}

static int decode(enum qcow2_compression compression, size_t len)
{
	struct qcow2 q = image(compression);
	int rc;

	memset(out, 0x5c, sizeof(out));
	/* A private copy of the exact length: the sanitizer sees reads behind the input. */
	uint8_t *in = malloc(len ? len : 1);
	memcpy(in, packed, len);
	rc = qcow2_decode(&q.layer, in, len, out);
	free(in);
	for (size_t i = 0; i < CANARY_LEN; i++)
		cr_assert_eq(out[CLUSTER_LEN + i], 0x5c, "wrote behind the cluster");
	return rc;
}

static void assert_decodes(enum qcow2_compression compression, size_t len)
{
	cr_assert_eq(decode(compression, len), 0);
	cr_assert_arr_eq(out, plain, CLUSTER_LEN);
}

/* Raw deflate; flush is Z_FINISH, or Z_SYNC_FLUSH for a stream without an end. */
static size_t pack_deflate(size_t len, int window_bits, int flush)
{
	z_stream stream = {
		.next_in = plain,
		.avail_in = len,
		.next_out = packed,
		.avail_out = sizeof(packed),
	};
	int rc = deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY);

	cr_assert_eq(rc, Z_OK);
	rc = deflate(&stream, flush);
	cr_assert_eq(rc, flush == Z_FINISH ? Z_STREAM_END : Z_OK);
	deflateEnd(&stream);
	return stream.total_out;
}

static void fill(size_t len, uint32_t seed)
{
	build_fill(plain, len, seed);
}

Test(qcow2_compressed, deflate_of_either_window_decodes)
{
	for (uint32_t seed = 1; seed <= 50; seed++) {
		fill(CLUSTER_LEN, seed);
		assert_decodes(QCOW2_COMPRESSION_ZLIB, pack_deflate(CLUSTER_LEN, -12, Z_FINISH));
		assert_decodes(QCOW2_COMPRESSION_ZLIB, pack_deflate(CLUSTER_LEN, -15, Z_FINISH));
	}
}

Test(qcow2_compressed, trailing_bytes_are_someone_elses)
{
	size_t len;

	fill(CLUSTER_LEN, 7);
	len = pack_deflate(CLUSTER_LEN, -12, Z_FINISH);
	memset(packed + len, 0xff, 700);
	assert_decodes(QCOW2_COMPRESSION_ZLIB, len + 700);
	len = ZSTD_compress(packed, sizeof(packed), plain, CLUSTER_LEN, 3);
	memset(packed + len, 0xff, 700);
	assert_decodes(QCOW2_COMPRESSION_ZSTD, len + 700);
}

/* QEMU stops at a full cluster; whether the stream would have gone on is not asked. */
Test(qcow2_compressed, deflate_streams_that_do_not_end)
{
	fill(2 * CLUSTER_LEN, 8);
	assert_decodes(QCOW2_COMPRESSION_ZLIB, pack_deflate(CLUSTER_LEN, -12, Z_SYNC_FLUSH));
	assert_decodes(QCOW2_COMPRESSION_ZLIB, pack_deflate(2 * CLUSTER_LEN, -12, Z_FINISH));
	assert_decodes(QCOW2_COMPRESSION_ZLIB, pack_deflate(2 * CLUSTER_LEN, -12, Z_SYNC_FLUSH));
}

Test(qcow2_compressed, clusters_that_did_not_shrink_are_decoded)
{
	uint64_t state = 1;

	for (size_t i = 0; i < CLUSTER_LEN; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		plain[i] = state >> 56;
	}
	assert_decodes(QCOW2_COMPRESSION_ZLIB, pack_deflate(CLUSTER_LEN, -12, Z_FINISH));
	assert_decodes(QCOW2_COMPRESSION_ZSTD,
		       ZSTD_compress(packed, sizeof(packed), plain, CLUSTER_LEN, 3));
}

Test(qcow2_compressed, zstd_of_several_frames_decodes)
{
	static const size_t cuts[] = { 0, 1, 1000, CLUSTER_LEN / 2, CLUSTER_LEN };
	size_t len = 0;

	fill(CLUSTER_LEN, 9);
	for (size_t i = 0; i + 1 < ARRAY_LEN(cuts); i++) {
		/* An empty frame between two is legal. */
		len += ZSTD_compress(packed + len, sizeof(packed) - len, plain, 0, 3);
		len += ZSTD_compress(packed + len, sizeof(packed) - len, plain + cuts[i],
				     cuts[i + 1] - cuts[i], 3);
	}
	assert_decodes(QCOW2_COMPRESSION_ZSTD, len);
}

Test(qcow2_compressed, too_much_zstd_stops_at_the_cluster)
{
	fill(2 * CLUSTER_LEN, 10);
	assert_decodes(QCOW2_COMPRESSION_ZSTD,
		       ZSTD_compress(packed, sizeof(packed), plain, 2 * CLUSTER_LEN, 3));
}

/* A stream that breaks off, or asks for a large window, and the next cluster. */
Test(qcow2_compressed, a_kept_decoder_is_as_good_as_new)
{
	uint64_t word = 0;

	for (unsigned i = 0; i < 20; i++) {
		ZSTD_CCtx *encoder = ZSTD_createCCtx();
		ZSTD_outBuffer dst = { packed, sizeof(packed), 0 };
		ZSTD_inBuffer src = { &word, sizeof(word), 0 };
		size_t len;

		fill(CLUSTER_LEN, i);
		len = ZSTD_compress(packed, sizeof(packed), plain, CLUSTER_LEN, 3);
		cr_assert_eq(decode(QCOW2_COMPRESSION_ZSTD, len / 2), -EUCLEAN);
		assert_decodes(QCOW2_COMPRESSION_ZSTD, len);
		/* Flushed: the frame goes on, and the decoder waits with 8 MiB of window. */
		ZSTD_CCtx_setParameter(encoder, ZSTD_c_windowLog, 23);
		ZSTD_compressStream2(encoder, &dst, &src, ZSTD_e_flush);
		ZSTD_freeCCtx(encoder);
		cr_assert_eq(decode(QCOW2_COMPRESSION_ZSTD, dst.pos), -EUCLEAN);
		cr_assert_eq(codecs->n[CODEC_ZSTD_DECODER], 0, "the large one is kept");
		len = ZSTD_compress(packed, sizeof(packed), plain, CLUSTER_LEN, 3);
		assert_decodes(QCOW2_COMPRESSION_ZSTD, len);
		cr_assert_eq(codecs->n[CODEC_ZSTD_DECODER], 1);
	}
}

Test(qcow2_compressed, short_output_is_an_error)
{
	static const size_t lens[] = { 0, 1, 512, CLUSTER_LEN - 1 };

	fill(CLUSTER_LEN, 11);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		size_t len = pack_deflate(lens[i], -12, Z_FINISH);

		cr_assert_eq(decode(QCOW2_COMPRESSION_ZLIB, len), -EUCLEAN, "%zu bytes", lens[i]);
		len = ZSTD_compress(packed, sizeof(packed), plain, lens[i], 3);
		cr_assert_eq(decode(QCOW2_COMPRESSION_ZSTD, len), -EUCLEAN, "%zu bytes", lens[i]);
	}
}

Test(qcow2_compressed, every_cut_of_the_input_is_an_error)
{
	size_t len;

	fill(CLUSTER_LEN, 12);
	len = pack_deflate(CLUSTER_LEN, -12, Z_FINISH);
	for (size_t cut = 0; cut + 64 < len; cut += 97)
		cr_assert_eq(decode(QCOW2_COMPRESSION_ZLIB, cut), -EUCLEAN, "%zu of %zu", cut, len);
	len = ZSTD_compress(packed, sizeof(packed), plain, CLUSTER_LEN, 3);
	for (size_t cut = 0; cut + 64 < len; cut += 97)
		cr_assert_eq(decode(QCOW2_COMPRESSION_ZSTD, cut), -EUCLEAN, "%zu of %zu", cut, len);
}

/* A few bytes must not make us allocate half a gigabyte. */
Test(qcow2_compressed, huge_zstd_window_is_refused)
{
	ZSTD_CCtx *encoder = ZSTD_createCCtx();

	fill(CLUSTER_LEN, 13);
	for (int window_log = 23; window_log <= 27; window_log++) {
		ZSTD_outBuffer dst = { packed, sizeof(packed), 0 };
		ZSTD_inBuffer src = { plain, CLUSTER_LEN, 0 };
		size_t more;

		ZSTD_CCtx_reset(encoder, ZSTD_reset_session_and_parameters);
		ZSTD_CCtx_setParameter(encoder, ZSTD_c_windowLog, window_log);
		ZSTD_CCtx_setParameter(encoder, ZSTD_c_contentSizeFlag, 0);
		/* Streamed, so that the window is not cut to the content's size. */
		more = ZSTD_compressStream2(encoder, &dst, &src, ZSTD_e_flush);
		cr_assert(!ZSTD_isError(more));
		more = ZSTD_compressStream2(encoder, &dst, &src, ZSTD_e_end);
		cr_assert_eq(more, 0);
		cr_assert_eq(decode(QCOW2_COMPRESSION_ZSTD, dst.pos),
			     window_log > 23 ? -EUCLEAN : 0, "window of 2^%d", window_log);
	}
	ZSTD_freeCCtx(encoder);
}

/* Damage gives -EUCLEAN or other bytes, never more than a cluster and never a crash. */
Test(qcow2_compressed, damaged_input_stays_within_bounds)
{
	const uint64_t seed = 0x2545f4914f6cdd1d;
	uint64_t state = seed;
	size_t n_refused = 0;

	for (unsigned i = 0; i < 2000; i++) {
		enum qcow2_compression type =
			i % 2 ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_ZLIB;
		size_t len;

		fill(CLUSTER_LEN, i);
		len = type == QCOW2_COMPRESSION_ZSTD
			      ? ZSTD_compress(packed, sizeof(packed), plain, CLUSTER_LEN, 1)
			      : pack_deflate(CLUSTER_LEN, -12, Z_FINISH);
		for (unsigned n = 0; n < 4; n++) {
			random_step(&state);
			packed[(state >> 16) % len] ^= 1u << (state & 7);
		}
		int rc = decode(type, len);
		cr_assert(rc == 0 || rc == -EUCLEAN, "round %u of seed %#" PRIx64, i, seed);
		n_refused += rc != 0;
	}
	cr_assert(n_refused > 100, "only %zu of 2000", n_refused);
}
