/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2 header extensions: type, length, data, padding to 8 bytes, from the
 * end of the header (byte 72 in version 2, header_length in version 3) to the
 * end marker, the backing file's name or the end of the first cluster.
 *
 * A known type that appears twice is refused, where QEMU lets the last one
 * win: two programs that pick different ones would read the backing file in
 * different formats. Unknown types are stepped over, however many. Bitmaps
 * without their autoclear bit are stale by definition and not looked at.
 */
#include "formats/qcow2/image/extensions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/err.h"

#define EXT_HEAD_LEN     QCOW2_EXT_HEAD_LEN
#define FEATURE_NAME_OFF 2u
#define BITMAPS_LEN      24u
#define LUKS_LEN         16u
#define MAX_BITMAPS      65535u
#define MAX_BITMAP_DIR   (MAX_BITMAPS * UINT64_C(2048))

struct ext_walk {
	const uint8_t *bytes;
	size_t pos, end; /* pos <= end */
};

struct ext {
	uint32_t type, len;
	size_t off; /* of the data, in the first cluster */
	const uint8_t *data;
};

static struct ext_walk ext_walk_begin(const uint8_t *cluster0, size_t len, uint32_t header_len)
{
	struct ext_walk walk = { .bytes = cluster0, .end = len };
	uint64_t name_off = be64(cluster0 + QCOW2_H_BACKING_OFF);

	walk.pos = MIN((size_t)header_len, len);
	if (name_off >= walk.pos && name_off < len)
		walk.end = name_off;
	return walk;
}

/* 1 and *ext; 0 at the end; -EUCLEAN, with *ext, where an extension reaches past the end of them
 * all: other readers would take bytes of the backing file's name for an extension. */
static int ext_walk_next(struct ext_walk *walk, struct ext *ext)
{
	size_t room;

	if (walk->end - walk->pos < EXT_HEAD_LEN) {
		*ext = (struct ext){ .off = walk->pos + EXT_HEAD_LEN };
		return walk->end == walk->pos ? 0 : -EUCLEAN;
	}
	ext->type = be32(walk->bytes + walk->pos);
	ext->len = be32(walk->bytes + walk->pos + 4);
	ext->off = walk->pos + EXT_HEAD_LEN;
	ext->data = walk->bytes + ext->off;
	room = walk->end - ext->off;
	if (ext->len > room)
		return -EUCLEAN;
	if (ext->type == QCOW2_EXT_END)
		return 0;
	/* The padding of the last one may be what the name's offset cuts off. */
	walk->pos = ext->off + MIN(round_up(ext->len, 8), room);
	return 1;
}

__attribute__((format(printf, 4, 5))) static int ext_damaged(const struct qcow2 *q,
							     const struct ext *ext, struct err *err,
							     const char *format, ...)
{
	const char *name = q->layer.file->name;
	char escaped[512], why[256];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	return err_set(err, -EUCLEAN,
		       "%s: damaged qcow2 header: the extension at offset %zu (type %#x) %s; "
		       "restore the image from a copy",
		       err_escape(name, strlen(name), escaped, sizeof(escaped)),
		       ext->off - EXT_HEAD_LEN, ext->type, why);
}

static int read_backing_format(struct qcow2 *q, const struct ext *ext, struct err *err)
{
	char *as_recorded = q->layer.backing.format_name;

	if (ext->len >= sizeof(q->layer.backing.format_name))
		return ext_damaged(q, ext, err, "names a backing format of %u bytes", ext->len);
	/* Software that takes it for a C string would see another format than we do. */
	if (memchr(ext->data, 0, ext->len))
		return ext_damaged(q, ext, err, "names a backing format with a NUL byte in it");
	if (!ext->len)
		return 0;
	q->layer.backing.format = format_by_name((const char *)ext->data, ext->len);
	if (q->layer.backing.format != IMAGE_UNKNOWN)
		return 0;
	memcpy(as_recorded, ext->data, ext->len);
	as_recorded[ext->len] = 0;
	return 0;
}

static int read_bitmaps(struct qcow2 *q, const struct ext *ext, struct err *err)
{
	if (!(q->hdr.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (ext->len != BITMAPS_LEN)
		return ext_damaged(q, ext, err, "describes bitmaps in %u bytes, not %u", ext->len,
				   BITMAPS_LEN);
	q->bitmaps.n = be32(ext->data);
	q->bitmaps.dir_len = be64(ext->data + 8);
	q->bitmaps.dir_off = be64(ext->data + 16);
	if (be32(ext->data + 4))
		return ext_damaged(q, ext, err, "has a reserved field set");
	if (!q->bitmaps.n || q->bitmaps.n > MAX_BITMAPS)
		return ext_damaged(q, ext, err, "claims %u bitmaps, not 1 to %u", q->bitmaps.n,
				   MAX_BITMAPS);
	if (!q->bitmaps.dir_len || q->bitmaps.dir_len > MAX_BITMAP_DIR)
		return ext_damaged(q, ext, err, "has a bitmap directory of %" PRIu64 " bytes",
				   q->bitmaps.dir_len);
	if (!q->bitmaps.dir_off || !is_aligned(q->bitmaps.dir_off, qcow2_cluster_len(q)))
		return ext_damaged(q, ext, err,
				   "has its bitmap directory at offset %#" PRIx64
				   ", which is not on a cluster of its own",
				   q->bitmaps.dir_off);
	q->bitmaps.is_present = true;
	return 0;
}

static int read_luks(struct qcow2 *q, const struct ext *ext, struct err *err)
{
	if (q->hdr.crypt_method != 2)
		return ext_damaged(q, ext, err, "holds a LUKS header, but the image is not LUKS");
	if (ext->len != LUKS_LEN)
		return ext_damaged(q, ext, err, "points at a LUKS header in %u bytes, not %u",
				   ext->len, LUKS_LEN);
	q->luks.off = be64(ext->data);
	q->luks.len = be64(ext->data + 8);
	if (!q->luks.off || !q->luks.len || !is_aligned(q->luks.off, qcow2_cluster_len(q)))
		return ext_damaged(q, ext, err,
				   "has its LUKS header at offset %#" PRIx64 ", %" PRIu64
				   " bytes, which is not on a cluster of its own",
				   q->luks.off, q->luks.len);
	q->luks.is_present = true;
	return 0;
}

static int read_data_file(struct qcow2 *q, const struct ext *ext, struct err *err)
{
	if (ext->len > QCOW2_MAX_NAME_LEN)
		return ext_damaged(q, ext, err, "names a data file in %u bytes", ext->len);
	if (memchr(ext->data, 0, ext->len))
		return ext_damaged(q, ext, err, "names a data file with a NUL byte in it");
	q->data_file_name = strndup((const char *)ext->data, ext->len);
	return q->data_file_name ? 0 : err_set(err, -ENOMEM, "out of memory for header extensions");
}

/* Flags unknown here are of a newer version, which other programs need not understand either. */
static int read_mixed(struct qcow2 *q, const struct ext *ext, struct err *err)
{
	if (ext->len != QCOW2_MARK_LEN)
		return ext_damaged(q, ext, err,
				   "holds the mark of a changed base in %u bytes, not %u", ext->len,
				   QCOW2_MARK_LEN);
	q->layer.is_mixed = be32(ext->data) & QCOW2_MARK_MIXED;
	return 0;
}

static const struct known_ext {
	uint32_t type;
	int (*read)(struct qcow2 *q, const struct ext *ext, struct err *err);
} known_exts[] = {
	{ QCOW2_EXT_BACKING_FORMAT, read_backing_format },
	{ QCOW2_EXT_BITMAPS, read_bitmaps },
	{ QCOW2_EXT_LUKS, read_luks },
	{ QCOW2_EXT_DATA_FILE, read_data_file },
	{ QCOW2_EXT_MIXED, read_mixed },
};

/* `seen` has a bit for each known type met before. */
static int read_one(struct qcow2 *q, const struct ext *ext, unsigned *seen, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(known_exts); i++) {
		if (known_exts[i].type != ext->type)
			continue;
		if (*seen & 1u << i)
			return ext_damaged(q, ext, err, "is there twice");
		*seen |= 1u << i;
		return known_exts[i].read(q, ext, err);
	}
	return 0;
}

static int luks_missing(const struct qcow2 *q, struct err *err)
{
	const char *name = q->layer.file->name;
	char escaped[512];

	return err_set(
		err, -EUCLEAN,
		"%s: damaged qcow2 header: encrypted (LUKS) without a LUKS header extension; "
		"restore the image from a copy",
		err_escape(name, strlen(name), escaped, sizeof(escaped)));
}

int qcow2_read_extensions(struct qcow2 *q, const uint8_t *cluster0, size_t len, struct err *err)
{
	struct ext_walk walk = ext_walk_begin(cluster0, len, q->hdr.header_len);
	struct ext ext = { 0 };
	unsigned seen = 0;
	int rc;

	while ((rc = ext_walk_next(&walk, &ext)) > 0) {
		rc = read_one(q, &ext, &seen, err);
		if (rc)
			return rc;
	}
	if (rc && !ext.data)
		return ext_damaged(q, &ext, err, "is cut off by the backing file's name");
	if (rc)
		return ext_damaged(q, &ext, err, "is %u bytes long, more than there is room for",
				   ext.len);
	if (q->hdr.crypt_method == 2 && !q->luks.is_present)
		return luks_missing(q, err);
	return 0;
}

static bool find_feature(const struct ext *ext, unsigned bit, char *out, size_t cap)
{
	for (uint32_t at = 0; ext->len - at >= QCOW2_FEATURE_LEN; at += QCOW2_FEATURE_LEN) {
		const uint8_t *record = ext->data + at;
		const char *name = (const char *)record + FEATURE_NAME_OFF;
		size_t name_len = strnlen(name, QCOW2_FEATURE_LEN - FEATURE_NAME_OFF);

		if (record[0] != 0 || record[1] != bit || !name_len)
			continue;
		err_escape(name, name_len, out, cap);
		return true;
	}
	return false;
}

void qcow2_feature_name(const uint8_t *cluster0, size_t len, uint32_t header_len, unsigned bit,
			char *out, size_t cap)
{
	struct ext_walk walk = ext_walk_begin(cluster0, len, header_len);
	struct ext ext;

	while (ext_walk_next(&walk, &ext) > 0)
		if (ext.type == QCOW2_EXT_FEATURE_NAMES && find_feature(&ext, bit, out, cap))
			return;
	snprintf(out, cap, "bit %u", bit);
}

void qcow2_find_parts(const struct qcow2 *q, struct qcow2_parts *parts)
{
	size_t end = parts->len, at = q->hdr.header_len, padded = at;
	uint32_t type;

	parts->name_off = be64(parts->bytes + QCOW2_H_BACKING_OFF);
	parts->name_len = be32(parts->bytes + QCOW2_H_BACKING_LEN);
	if (parts->name_off >= at && parts->name_off < end)
		end = parts->name_off;
	while (end - at >= EXT_HEAD_LEN && (type = be32(parts->bytes + at)) != QCOW2_EXT_END) {
		if (type == QCOW2_EXT_BACKING_FORMAT)
			parts->format_off = at;
		if (type == QCOW2_EXT_MIXED)
			parts->mark_off = at;
		padded = at + EXT_HEAD_LEN + round_up((uint64_t)be32(parts->bytes + at + 4), 8);
		at = MIN(padded, end);
	}
	/* Readers look for the next one behind the padding, of which the name may have cut off
	 * some. */
	parts->tail = padded;
	parts->ext_end = MIN(at + EXT_HEAD_LEN, end);
	parts->needs_marker = at == end && end < parts->len;
}
