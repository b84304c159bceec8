/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See write_rig_read.h. */
#include "tests/support/rigs/write_rig_read.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/chain/open.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/refcount.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/rigs/write_rig.h"

int write_rig_open_layer(struct file *file, struct file *data, struct table_cache *cache,
			 struct layer **out)
{
	enum image_format format;
	struct err err = { 0 };
	int rc = format_probe(file, &format, &err);

	if (!rc)
		rc = format_open(format, file, cache, out, &err);
	if (!rc && data)
		(*out)->data = data;
	return rc;
}

void write_rig_read_below(const uint8_t *below, uint64_t below_len, uint64_t off, uint8_t *buf,
			  uint64_t len)
{
	uint64_t n = off < below_len ? MIN(len, below_len - off) : 0;

	if (n)
		memcpy(buf, below + off, n);
	memset(buf + n, 0, len - n);
}

static int read_compressed(struct layer *layer, const struct extent *e, uint8_t *buf)
{
	autofree uint8_t *in = malloc(e->host_len), *out = malloc(layer->cluster_len);
	int rc = file_read_padded(layer->file, in, e->host_len, e->host_off);

	if (!rc)
		rc = layer_decode(layer, in, e->host_len, out);
	if (!rc)
		memcpy(buf, out + e->skip, e->len);
	return rc;
}

static int read_layer(struct layer *layer, const uint8_t *below, uint64_t below_len, uint64_t off,
		      uint8_t *buf, uint64_t len)
{
	while (len) {
		struct extent e;
		int rc = layer_map_now(layer, off, len, &e);

		if (!rc && e.kind == EXTENT_DATA)
			rc = file_read_padded(layer->data, buf, e.len, e.host_off);
		else if (!rc && e.kind == EXTENT_COMPRESSED)
			rc = read_compressed(layer, &e, buf);
		else if (!rc && e.kind == EXTENT_ZERO)
			memset(buf, 0, e.len);
		else if (!rc)
			write_rig_read_below(below, below_len, off, buf, e.len);
		if (rc)
			return rc;
		off += e.len;
		buf += e.len;
		len -= e.len;
	}
	return 0;
}

void write_rig_read(struct write_rig *rig, uint64_t off, uint8_t *buf, uint64_t len)
{
	uint64_t in_disk = off < rig->layer->guest_len ? MIN(len, rig->layer->guest_len - off) : 0;

	cr_assert_eq(read_layer(rig->layer, rig->below, rig->below_len, off, buf, in_disk), 0);
	memset(buf + in_disk, 0, len - in_disk);
}

void write_rig_assert_model(struct write_rig *rig)
{
	uint64_t len = rig->layer->guest_len;
	autofree uint8_t *buf = malloc(len);

	write_rig_read(rig, 0, buf, len);
	if (!memcmp(buf, rig->model, len))
		return;
	for (uint64_t i = 0; i < len; i++)
		cr_assert_eq(buf[i], rig->model[i], "guest byte %#" PRIx64 " is %02x, not %02x", i,
			     buf[i], rig->model[i]);
}

/* The header names the snapshot's L1 table, in a copy of the image. */
static struct file *as_disk(struct file *file, unsigned snapshot)
{
	const struct mem_inode *was = mem_file_inode(file);
	struct file *copy = mem_file_new("snapshot", was->len);
	uint8_t *bytes = mem_file_inode(copy)->bytes, *entry;

	memcpy(bytes, was->bytes, was->len);
	entry = bytes + be64(bytes + 64);
	while (--snapshot)
		entry += round_up(40u + be32(entry + 36) + be16(entry + 12) + be16(entry + 14), 8);
	memmove(bytes + 36, entry + 8, 4);
	memmove(bytes + 40, entry, 8);
	memset(bytes + 60, 0, 4);
	return copy;
}

int write_rig_read_fresh(struct file *file, struct file *data, unsigned snapshot,
			 const uint8_t *below, uint64_t below_len, uint8_t *out, uint64_t len)
{
	struct table_cache *cache = table_cache_new(RIG_CACHE_LEN);
	struct file *image = snapshot ? as_disk(file, snapshot) : file;
	struct layer *layer;
	int rc = write_rig_open_layer(image, data, cache, &layer);

	if (!rc) {
		rc = read_layer(layer, below, below_len, 0, out, len);
		table_cache_forget(cache, image);
		layer_close(layer);
	}
	table_cache_free(cache);
	if (snapshot)
		file_close(image);
	return rc;
}

uint64_t write_rig_refs(struct write_rig *rig, uint64_t host_off)
{
	struct qcow2 *q = qcow2_of(rig->layer);
	uint64_t refs = 0;
	int rc = RIG_LOADED(rig->cache, 16,
			    qcow2_ref_get(q, host_off >> q->cluster_bits, &refs, &need));

	cr_assert_eq(rc, 0);
	return refs;
}

/* ---- checking ---- */

struct first_finding {
	char *why;
	size_t cap;
	bool is_leak;
};

static void note_finding(void *opaque, bool is_leak, const char *text)
{
	struct first_finding *first = opaque;

	if (!first->cap || (*first->why && (is_leak || !first->is_leak)))
		return;
	first->is_leak = is_leak;
	snprintf(first->why, first->cap, "%s%s", is_leak ? "leak: " : "", text);
}

int write_rig_check(struct file *file, uint64_t *n_leaks, char *why, size_t cap)
{
	struct table_cache *cache = table_cache_new(RIG_CACHE_LEN);
	struct first_finding first = { why, cap, false };
	struct check_result found = { .report = note_finding, .opaque = &first, .max_reports = 99 };
	struct layer *layer;
	int rc = write_rig_open_layer(file, NULL, cache, &layer);

	if (cap)
		*why = 0;
	if (!rc) {
		rc = layer_check(layer, &found, NULL);
		if (!rc && (found.n_errors || found.n_check_errors))
			rc = -EUCLEAN;
		table_cache_forget(cache, file);
		layer_close(layer);
	}
	*n_leaks = found.n_leaks;
	table_cache_free(cache);
	return rc;
}

int write_rig_reopens(struct file *file)
{
	struct table_cache *cache = table_cache_new(WRITE_RIG_SNAPSHOT_CACHE_LEN);
	struct layer *layer;
	int rc = write_rig_open_layer(file, NULL, cache, &layer);

	if (!rc) {
		rc = layer_begin_writing(layer, NULL);
		table_cache_forget(cache, file);
		layer_close(layer);
	}
	table_cache_free(cache);
	return rc;
}
