/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: bytes to compressed clusters, and the header's compression type.
 *
 * Deflate readers of qcow2 (QEMU among them) open the stream with a window of
 * 12 bits: 4 KiB. libdeflate always uses 32 KiB, so it is asked for clusters
 * of no more than 4 KiB, where no distance can be longer; larger ones go to
 * zlib with a 12-bit window. QEMU 7.2 happens to decode longer distances, since
 * its zlib finds them in the output buffer, but zlib's manual promises nothing
 * of the kind and other readers have no reason to: an image that only some
 * programs can read was rejected for the sake of a better ratio.
 */
#include "formats/qcow2/compress/encode.h"

#include <errno.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "formats/core/codecs.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_compress.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define WINDOW_BITS        12
#define ZLIB_DEFAULT_LEVEL 6
#define ZLIB_MAX_LEVEL     9
#define ZSTD_DEFAULT_LEVEL 3
#define ZSTD_MAX_LEVEL     19

static int encode_libdeflate(int level, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct libdeflate_compressor *encoder = libdeflate_alloc_compressor(level);
	size_t n;

	if (!encoder)
		return -ENOMEM;
	n = libdeflate_deflate_compress(encoder, in, in_len, out, out_cap);
	libdeflate_free_compressor(encoder);
	return n;
}

/* An encoder for this level, ready for a new stream; NULL: out of memory. */
static struct deflate_encoder *deflate_encoder(struct codecs *codecs, int level)
{
	struct deflate_encoder *encoder = codecs_take(codecs, CODEC_DEFLATE_ENCODER);

	if (encoder && encoder->level == level && deflateReset(&encoder->stream) == Z_OK)
		return encoder;
	codecs_give(NULL, CODEC_DEFLATE_ENCODER, encoder);
	encoder = calloc(1, sizeof(*encoder));
	if (!encoder)
		return NULL;
	encoder->level = level;
	if (deflateInit2(&encoder->stream, level, Z_DEFLATED, -WINDOW_BITS, MAX_MEM_LEVEL,
			 Z_DEFAULT_STRATEGY) == Z_OK)
		return encoder;
	free(encoder);
	return NULL;
}

static int encode_zlib(struct codecs *codecs, int level, const void *in, size_t in_len, void *out,
		       size_t out_cap)
{
	struct deflate_encoder *encoder = deflate_encoder(codecs, level);
	z_stream *stream;
	int rc;

	if (!encoder)
		return -ENOMEM;
	stream = &encoder->stream;
	stream->next_in = (void *)in;
	stream->avail_in = in_len;
	stream->next_out = out;
	stream->avail_out = out_cap;
	rc = deflate(stream, Z_FINISH);
	rc = rc == Z_STREAM_END ? (int)(out_cap - stream->avail_out) : 0;
	codecs_give(codecs, CODEC_DEFLATE_ENCODER, encoder);
	return rc;
}

static int encode_zstd(struct codecs *codecs, int level, const void *in, size_t in_len, void *out,
		       size_t out_cap)
{
	ZSTD_CCtx *encoder = codecs_take(codecs, CODEC_ZSTD_ENCODER);
	size_t n;

	if (!encoder)
		encoder = ZSTD_createCCtx();
	if (!encoder)
		return -ENOMEM;
	n = ZSTD_compressCCtx(encoder, out, out_cap, in, in_len, level);
	codecs_give(codecs, CODEC_ZSTD_ENCODER, encoder);
	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
	return n;
}

int qcow2_encode(const struct layer *layer, unsigned level, const void *in, void *out,
		 size_t out_cap)
{
	const struct qcow2 *q = qcow2_of(layer);
	size_t in_len = layer->cluster_len;

	if (q->hdr.compression == QCOW2_COMPRESSION_ZSTD)
		return encode_zstd(q->codecs, level ? level : ZSTD_DEFAULT_LEVEL, in, in_len, out,
				   out_cap);
	if (!level)
		level = ZLIB_DEFAULT_LEVEL;
	return in_len <= 1u << WINDOW_BITS
		       ? encode_libdeflate(level, in, in_len, out, out_cap)
		       : encode_zlib(q->codecs, level, in, in_len, out, out_cap);
}

/* ---- the header's type ---- */

static enum qcow2_compression wanted(const struct qcow2 *q, enum layer_compression type)
{
	switch (type) {
	case COMPRESSION_NONE:
	case COMPRESSION_OWN: break;
	case COMPRESSION_ZLIB: return QCOW2_COMPRESSION_ZLIB;
	case COMPRESSION_ZSTD: return QCOW2_COMPRESSION_ZSTD;
	}
	return q->hdr.compression;
}

static const char *type_name(enum qcow2_compression type)
{
	return type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
}

/* 0: the type may change. It may not while anything is compressed in the old one. */
static int may_switch(struct qcow2 *q, const char *name, enum qcow2_compression to, struct err *err)
{
	struct check_result result = { 0 };
	int rc;

	if (q->hdr.version < 3)
		err_set(err, -ENOTSUP, "%s: version 2 images have zlib compression only", name);
	else if (q->hdr.header_len <= QCOW2_H_COMPRESSION)
		err_set(err, -ENOTSUP,
			"%s: its header (%u bytes) has no room for a compression type", name,
			q->hdr.header_len);
	if (q->hdr.version < 3 || q->hdr.header_len <= QCOW2_H_COMPRESSION)
		return err_remedy(err, -ENOTSUP, ERR_REMEDY_COMPRESSION,
				  type_name(q->hdr.compression));
	/* A table that can't be read or understood may have compressed clusters, too. */
	rc = qcow2_check(&q->layer, &result, err);
	if (!rc && result.n_check_errors)
		rc = err_set(err, -EIO, "%s: its tables can't be read: %s; nothing was changed",
			     name, result.incomplete);
	/* A dirty image has wrong refcounts, which begin_writing() will mend. */
	if (!rc && result.n_errors > result.n_stale && !(q->hdr.incompat & QCOW2_INCOMPAT_DIRTY))
		rc = err_set(
			err, -EUCLEAN,
			"%s: damaged image (%" PRIu64
			" errors); nothing was changed: see blockpull check, and repair a copy",
			name, result.n_errors);
	if (rc || !(result.n_compressed_clusters + result.n_snapshot_compressed_clusters))
		return rc;
	err_set(err, -ENOTSUP, "%s: it has clusters compressed with %s, so it can't have %s", name,
		type_name(q->hdr.compression), type_name(to));
	return err_remedy(err, -ENOTSUP, ERR_REMEDY_COMPRESSION, type_name(q->hdr.compression));
}

int qcow2_may_compress(struct layer *layer, enum layer_compression type, unsigned level,
		       struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	enum qcow2_compression to = wanted(q, type);
	unsigned max_level = to == QCOW2_COMPRESSION_ZSTD ? ZSTD_MAX_LEVEL : ZLIB_MAX_LEVEL;
	struct shown shown;
	const char *name = file_show(layer->file, &shown);

	if (level > max_level)
		return err_set(err, -EINVAL, "%s: compression level %u; %s has 1 to %u", name,
			       level, type_name(to), max_level);
	if (q->hdr.incompat & QCOW2_INCOMPAT_DATA_FILE)
		return err_set(err, -ENOTSUP,
			       "%s: its data lies in an external data file, where nothing can be "
			       "compressed; pull without compression",
			       name);
	return to == q->hdr.compression ? 0 : may_switch(q, name, to, err);
}

bool qcow2_has_other_compression(const struct layer *layer, enum layer_compression type)
{
	const struct qcow2 *q = qcow2_of(layer);

	return wanted(q, type) != q->hdr.compression;
}

/* The header's bytes from the features to the compression type: all in the first sector, so that no
 * cut can halve a write of them. */
#define TYPE_LEN (QCOW2_H_COMPRESSION + 1 - QCOW2_H_INCOMPAT)

static void note_type(struct qcow2 *q, const uint8_t *bytes)
{
	q->hdr.incompat = be64(bytes);
	q->hdr.compression = bytes[QCOW2_H_COMPRESSION - QCOW2_H_INCOMPAT];
}

/* A write that failed may have changed the bytes all the same, so they are read back. Whether that
 * is durable is not known; but nothing is compressed yet, so either type is right until the next
 * job writes the one that it wants. */
static int read_type_back(struct qcow2 *q, const uint8_t *old, const uint8_t *new)
{
	uint8_t is[TYPE_LEN];
	int rc = file_read(q->layer.file, is, sizeof(is), QCOW2_H_INCOMPAT);

	if (rc)
		return rc;
	if (memcmp(is, old, sizeof(is)) != 0 && memcmp(is, new, sizeof(is)) != 0)
		return -EIO;
	note_type(q, is);
	q->type_undurable = true;
	return 0;
}

static int write_type(struct qcow2 *q, uint64_t incompat, enum qcow2_compression type,
		      bool *is_unknown)
{
	struct file *file = q->layer.file;
	uint8_t old[TYPE_LEN], new[TYPE_LEN];
	int rc = file_read(file, old, sizeof(old), QCOW2_H_INCOMPAT);

	if (rc)
		return rc;
	memcpy(new, old, sizeof(new));
	put_be64(new, incompat);
	new[QCOW2_H_COMPRESSION - QCOW2_H_INCOMPAT] = type;
	rc = file_write(file, new, sizeof(new), QCOW2_H_INCOMPAT);
	if (rc) {
		*is_unknown = read_type_back(q, old, new) != 0;
		return rc;
	}
	rc = file_sync(file);
	*is_unknown = rc != 0;
	if (!rc)
		note_type(q, new);
	return rc;
}

/* The feature bit and the type are durable before the first compressed cluster: an entry must never
 * meet the other type. */
int qcow2_set_compression(struct layer *layer, enum layer_compression type, bool *is_unknown,
			  struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);
	enum qcow2_compression to = wanted(q, type);
	uint64_t incompat = q->hdr.incompat & ~QCOW2_INCOMPAT_COMPRESSION;
	struct shown shown;
	int rc;

	if (to == q->hdr.compression && !q->type_undurable)
		return 0;
	if (to != QCOW2_COMPRESSION_ZLIB)
		incompat |= QCOW2_INCOMPAT_COMPRESSION;
	rc = write_type(q, incompat, to, is_unknown);
	if (rc)
		return err_errno(err, rc, "%s: cannot write the compression type",
				 file_show(layer->file, &shown));
	q->type_undurable = false;
	return 0;
}
