/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Compressed clusters to bytes: raw deflate or zstd, decoded until exactly one
 * cluster is there. What follows in the input is another cluster's or nothing.
 *
 * libdeflate is twice as fast as zlib but insists on the stream's end, which
 * need not be within the input; such clusters go to zlib. A decoder of libdeflate
 * is made for each call, which costs nothing; making one of zstd takes 10 of the
 * 60 us for 64 KiB, so those are kept. Intel's igzip was rejected: half as fast
 * again for digits, slower for programs and text.
 */
#include "formats/qcow2/compress/decode.h"

#include <errno.h>
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/core/codecs.h"
#include "formats/core/layer.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"

/* A hostile frame may ask for a window of 2 GiB; a cluster has 2 MiB at most. */
#define ZSTD_MAX_WINDOW_LOG 23

/* For streams that give a whole cluster and don't end there. */
static int inflate_unended(const void *in, size_t in_len, void *out, size_t out_len)
{
	z_stream stream = {
		.next_in = (void *)in,
		.avail_in = in_len,
		.next_out = out,
		.avail_out = out_len,
	};
	int rc;

	if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
		return -ENOMEM;
	do
		rc = inflate(&stream, Z_NO_FLUSH);
	while (rc == Z_OK && stream.avail_out);
	inflateEnd(&stream);
	return stream.avail_out ? -EUCLEAN : 0;
}

static int decode_deflate(const void *in, size_t in_len, void *out, size_t out_len)
{
	struct libdeflate_decompressor *decoder = libdeflate_alloc_decompressor();
	enum libdeflate_result result;
	size_t used, produced;

	if (!decoder)
		return -ENOMEM;
	result = libdeflate_deflate_decompress_ex(decoder, in, in_len, out, out_len, &used,
						  &produced);
	libdeflate_free_decompressor(decoder);
	if (result == LIBDEFLATE_SUCCESS)
		return produced == out_len ? 0 : -EUCLEAN;
	return inflate_unended(in, in_len, out, out_len);
}

static int decode_frames(ZSTD_DCtx *decoder, const void *in, size_t in_len, void *out,
			 size_t out_len)
{
	ZSTD_inBuffer src = { in, in_len, 0 };
	ZSTD_outBuffer dst = { out, out_len, 0 };

	ZSTD_DCtx_reset(decoder, ZSTD_reset_session_only);
	ZSTD_DCtx_setParameter(decoder, ZSTD_d_windowLogMax, ZSTD_MAX_WINDOW_LOG);
	/* Frame after frame until the cluster is full; a call that moves nothing on is the end. */
	while (dst.pos < dst.size) {
		size_t src_before = src.pos, dst_before = dst.pos;
		size_t more = ZSTD_decompressStream(decoder, &dst, &src);

		if (ZSTD_isError(more) || (src.pos == src_before && dst.pos == dst_before))
			return -EUCLEAN;
	}
	return 0;
}

static int decode_zstd(struct codecs *codecs, const void *in, size_t in_len, void *out,
		       size_t out_len)
{
	ZSTD_DCtx *decoder = codecs_take(codecs, CODEC_ZSTD_DECODER);
	int rc;

	if (!decoder)
		decoder = ZSTD_createDCtx();
	rc = decoder ? decode_frames(decoder, in, in_len, out, out_len) : -ENOMEM;
	codecs_give(codecs, CODEC_ZSTD_DECODER, decoder);
	return rc;
}

int qcow2_decode(const struct layer *layer, const void *in, size_t in_len, void *out)
{
	const struct qcow2 *q = qcow2_of(layer);

	switch (q->hdr.compression) {
	case QCOW2_COMPRESSION_ZLIB: return decode_deflate(in, in_len, out, layer->cluster_len);
	case QCOW2_COMPRESSION_ZSTD:
		return decode_zstd(q->codecs, in, in_len, out, layer->cluster_len);
	}
	return -EUCLEAN; /* unreadable: refused when it was opened */
}
