/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A new, empty qcow2 image: header, refcount table, refcount blocks and L1
 * table behind each other, every one accounted for, however many clusters the
 * tables take. How many refcount blocks there are depends on how many clusters
 * there are and the other way round; creating a small image and growing its
 * tables, as one would in memory, was rejected for the writes it takes.
 *
 * The header is written last and behind a flush: an interrupted creation
 * leaves a file that no program takes for an image.
 */
#include "formats/qcow2/create.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

/* Everything that decides the bytes; offsets in host clusters, lengths in clusters. */
struct layout {
	const struct image_create *how;
	const char *name; /* escaped */
	unsigned version, refcount_order, cluster_bits;
	uint64_t cluster_len;
	uint64_t refs_per_block;
	uint64_t l1_size; /* entries */
	uint64_t reftable_at, n_reftable;
	uint64_t refblocks_at, n_refblocks;
	uint64_t l1_at, n_l1;
	uint64_t n_total;
};

static const struct feature {
	uint8_t type, bit; /* type 0: incompatible, 1: compatible, 2: autoclear */
	const char *name;
} features[] = {
	{ 0, 0, "dirty bit" },
	{ 0, 1, "corrupt bit" },
	{ 0, 2, "external data file" },
	{ 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" },
	{ 1, 0, "lazy refcounts" },
	{ 2, 0, "bitmaps" },
	{ 2, 1, "raw external data" },
};

static int check_version(const struct layout *l, struct err *err)
{
	const struct image_create *how = l->how;

	if (l->version != 2 && l->version != 3)
		return err_set(err, -EINVAL, "%s: qcow2 version %u can't be created; 2 and 3 can",
			       l->name, l->version);
	if (l->version == 3)
		return 0;
	if (l->refcount_order != 4)
		return err_set(err, -EINVAL,
			       "%s: version 2 has refcounts of 16 bits only; use version 3",
			       l->name);
	if (how->lazy_refcounts)
		return err_set(err, -EINVAL, "%s: lazy refcounts need version 3", l->name);
	if (how->zstd)
		return err_set(err, -EINVAL, "%s: zstd compression needs version 3", l->name);
	return 0;
}

static int check_options(struct layout *l, struct err *err)
{
	const struct image_create *how = l->how;
	unsigned refcount_bits = how->refcount_bits ? how->refcount_bits : 16;
	uint64_t max_l1 = QCOW2_MAX_L1_LEN / 8;

	if (!is_power_of_2(l->cluster_len) || l->cluster_len < 1u << QCOW2_MIN_CLUSTER_BITS ||
	    l->cluster_len > 1u << QCOW2_MAX_CLUSTER_BITS)
		return err_set(err, -EINVAL,
			       "%s: a cluster of %" PRIu64
			       " bytes is not a power of two from 512 to 2 MiB",
			       l->name, l->cluster_len);
	if (!is_power_of_2(refcount_bits) || refcount_bits > 64)
		return err_set(err, -EINVAL,
			       "%s: refcounts of %u bits are not a power of two from 1 to 64",
			       l->name, refcount_bits);
	if (how->guest_len % 512)
		return err_set(err, -EINVAL,
			       "%s: a disk of %" PRIu64 " bytes is not a multiple of 512", l->name,
			       how->guest_len);
	l->cluster_bits = __builtin_ctzll(l->cluster_len);
	l->refcount_order = __builtin_ctz(refcount_bits);
	l->l1_size = div_round_up(how->guest_len, l->cluster_len * (l->cluster_len / 8));
	if (l->l1_size > max_l1)
		return err_set(err, -EFBIG,
			       "%s: a disk of %" PRIu64
			       " bytes is too large for clusters of %" PRIu64
			       " bytes, which reach %" PRIu64 "; use larger clusters",
			       l->name, how->guest_len, l->cluster_len,
			       max_l1 * l->cluster_len * (l->cluster_len / 8));
	return check_version(l, err);
}

/* The least number of refcount blocks that cover all, themselves and their table included. */
static void lay_out(struct layout *l)
{
	uint64_t n_refblocks, n_reftable;

	l->refs_per_block = (l->cluster_len * 8) >> l->refcount_order;
	l->n_l1 = div_round_up(l->l1_size * 8, l->cluster_len);
	l->n_reftable = 1;
	l->n_refblocks = 1;
	for (;;) {
		l->n_total = 1 + l->n_reftable + l->n_refblocks + l->n_l1;
		n_refblocks = div_round_up(l->n_total, l->refs_per_block);
		n_reftable = div_round_up(n_refblocks * 8, l->cluster_len);
		/* Neither ever falls, so this ends. */
		if (n_refblocks <= l->n_refblocks && n_reftable <= l->n_reftable)
			break;
		l->n_refblocks = MAX(n_refblocks, l->n_refblocks);
		l->n_reftable = MAX(n_reftable, l->n_reftable);
	}
	l->reftable_at = 1;
	l->refblocks_at = l->reftable_at + l->n_reftable;
	l->l1_at = l->refblocks_at + l->n_refblocks;
}

static size_t put_extension(uint8_t *at, uint32_t type, const void *data, uint32_t len)
{
	put_be32(at, type);
	put_be32(at + 4, len);
	memcpy(at + 8, data, len);
	return 8 + round_up(len, 8);
}

static size_t put_feature_names(uint8_t *at)
{
	uint8_t table[ARRAY_LEN(features) * QCOW2_FEATURE_LEN] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		uint8_t *record = table + i * QCOW2_FEATURE_LEN;

		record[0] = features[i].type;
		record[1] = features[i].bit;
		memcpy(record + 2, features[i].name, strlen(features[i].name));
	}
	return put_extension(at, QCOW2_EXT_FEATURE_NAMES, table, sizeof(table));
}

/* Extensions, their end marker and the backing name; both fit into a cluster of 512 bytes but for
 * the feature names, which only larger ones get. */
static int put_behind_header(const struct layout *l, uint8_t *cluster0, size_t pos, struct err *err)
{
	const struct image_create *how = l->how;
	const char *name = how->backing_name;
	size_t name_len = name ? strlen(name) : 0;
	const char *format = format_name(how->backing_format);

	if (name && how->backing_format != IMAGE_UNKNOWN)
		pos += put_extension(cluster0 + pos, QCOW2_EXT_BACKING_FORMAT, format,
				     strlen(format));
	if (l->version == 3 && l->cluster_len > 4096)
		pos += put_feature_names(cluster0 + pos);
	pos += 8;
	if (!name)
		return 0;
	if (!name_len || name_len > QCOW2_MAX_NAME_LEN)
		return err_set(err, -EINVAL,
			       "%s: a backing file's name has 1 to %u bytes, this one %zu", l->name,
			       QCOW2_MAX_NAME_LEN, name_len);
	if (name_len > l->cluster_len - pos)
		return err_set(
			err, -EINVAL,
			"%s: the backing file's name (%zu bytes) does not fit into a cluster "
			"of %" PRIu64 " bytes, which leaves %" PRIu64
			"; use larger clusters or a shorter name",
			l->name, name_len, l->cluster_len, l->cluster_len - pos);
	memcpy(cluster0 + pos, name, name_len);
	put_be64(cluster0 + QCOW2_H_BACKING_OFF, pos);
	put_be32(cluster0 + QCOW2_H_BACKING_LEN, name_len);
	return 0;
}

static int put_header(const struct layout *l, uint8_t *h, struct err *err)
{
	put_be32(h + QCOW2_H_MAGIC, QCOW2_MAGIC);
	put_be32(h + QCOW2_H_VERSION, l->version);
	put_be32(h + QCOW2_H_CLUSTER_BITS, l->cluster_bits);
	put_be64(h + QCOW2_H_SIZE, l->how->guest_len);
	put_be32(h + QCOW2_H_L1_SIZE, l->l1_size);
	put_be64(h + QCOW2_H_L1_OFF, l->n_l1 ? l->l1_at << l->cluster_bits : 0);
	put_be64(h + QCOW2_H_REFTABLE_OFF, l->reftable_at << l->cluster_bits);
	put_be32(h + QCOW2_H_REFTABLE_CLUSTERS, l->n_reftable);
	if (l->version == 2)
		return put_behind_header(l, h, QCOW2_V2_HEADER_LEN, err);
	put_be64(h + QCOW2_H_INCOMPAT, l->how->zstd ? QCOW2_INCOMPAT_COMPRESSION : 0);
	put_be64(h + QCOW2_H_COMPAT, l->how->lazy_refcounts ? QCOW2_COMPAT_LAZY : 0);
	put_be32(h + QCOW2_H_REFCOUNT_ORDER, l->refcount_order);
	put_be32(h + QCOW2_H_LEN, QCOW2_HEADER_LEN);
	h[QCOW2_H_COMPRESSION] = l->how->zstd ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_ZLIB;
	return put_behind_header(l, h, QCOW2_HEADER_LEN, err);
}

static int write_refblocks(const struct layout *l, struct file *file, uint8_t *cluster)
{
	for (uint64_t block = 0; block < l->n_refblocks; block++) {
		uint64_t first = block * l->refs_per_block;
		uint64_t n = l->n_total > first ? MIN(l->refs_per_block, l->n_total - first) : 0;
		int rc;

		memset(cluster, 0, l->cluster_len);
		for (uint64_t i = 0; i < n; i++)
			qcow2_refcount_put(cluster, i, l->refcount_order, 1);
		rc = file_write(file, cluster, l->cluster_len,
				(l->refblocks_at + block) << l->cluster_bits);
		if (rc)
			return rc;
	}
	return 0;
}

static int write_reftable(const struct layout *l, struct file *file, uint8_t *cluster)
{
	const uint64_t per_cluster = l->cluster_len / 8;

	for (uint64_t at = 0; at < l->n_reftable; at++) {
		int rc;

		memset(cluster, 0, l->cluster_len);
		for (uint64_t i = 0; i < per_cluster; i++) {
			uint64_t block = at * per_cluster + i;

			if (block < l->n_refblocks)
				put_be64(cluster + 8 * i, (l->refblocks_at + block)
								  << l->cluster_bits);
		}
		rc = file_write(file, cluster, l->cluster_len,
				(l->reftable_at + at) << l->cluster_bits);
		if (rc)
			return rc;
	}
	return 0;
}

/* A grown file reads zeros; a device holds what it held. */
static int write_l1(const struct layout *l, struct file *file, uint8_t *cluster)
{
	int rc = file_truncate(file, l->n_total << l->cluster_bits);

	memset(cluster, 0, l->cluster_len);
	for (uint64_t at = 0; !rc && file->is_block && at < l->n_l1; at++)
		rc = file_write(file, cluster, l->cluster_len, (l->l1_at + at) << l->cluster_bits);
	return rc;
}

static int write_image(const struct layout *l, struct file *file, const uint8_t *header,
		       uint8_t *cluster)
{
	int rc = write_l1(l, file, cluster);

	if (!rc)
		rc = write_refblocks(l, file, cluster);
	if (!rc)
		rc = write_reftable(l, file, cluster);
	if (!rc)
		rc = file_sync(file);
	if (!rc)
		rc = file_write(file, header, l->cluster_len, 0);
	return rc ? rc : file_sync(file);
}

int qcow2_create(struct file *file, const struct image_create *how, struct err *err)
{
	struct shown shown;
	struct layout l = {
		.how = how,
		.name = file_show(file, &shown),
		.version = how->version ? how->version : 3,
		.cluster_len = how->cluster_len ? how->cluster_len : 65536,
	};
	autofree uint8_t *header = NULL, *cluster = NULL;
	int rc = check_options(&l, err);

	if (rc)
		return rc;
	lay_out(&l);
	header = calloc(1, l.cluster_len);
	cluster = malloc(l.cluster_len);
	if (!header || !cluster)
		return err_set(err, -ENOMEM, "%s: out of memory", l.name);
	rc = put_header(&l, header, err);
	if (rc)
		return rc;
	rc = write_image(&l, file, header, cluster);
	return rc ? err_errno(err, rc, "%s: cannot create the image", l.name) : 0;
}
