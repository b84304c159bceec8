/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See mark_states.h. */
#include "tests/unit/formats/qcow2/mark_states.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_header.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/open.h"
#include "io/base.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

size_t mark_other_exts(const uint8_t *image, size_t cluster_len, uint8_t *out)
{
	uint64_t name_off = be64(image + 8);
	size_t at = be32(image + 4) == 2 ? 72 : be32(image + 100), end = cluster_len, n = 0;

	if (name_off && name_off < end)
		end = name_off;
	while (at + 8 <= end && be32(image + at)) {
		size_t len = 8 + (size_t)be32(image + at + 4);

		if (be32(image + at) != 0x62706d78) {
			memcpy(out + n, image + at, len);
			n += len;
		}
		at += round_up(len, 8);
	}
	return n;
}

bool mark_state_ok(struct file *state, void *opaque)
{
	struct mem_inode *inode = mem_file_inode(state);
	struct expected *expected = opaque;
	static uint8_t exts[4096];
	struct layer *layer;
	struct err err = { 0 };
	bool ok;

	if (qcow2_open(state, NULL, &layer, &err)) {
		cr_log_error("a cut left an image that does not open: %s", err.message);
		return false;
	}
	ok = layer->backing.format == expected->backing_format &&
	     !!layer->backing.name == !!expected->backing_name &&
	     (!layer->backing.name || !strcmp(layer->backing.name, expected->backing_name)) &&
	     (layer->is_mixed ? expected->may_be_marked : expected->may_be_plain) &&
	     mark_other_exts(inode->bytes, layer->cluster_len, exts) == expected->exts_len &&
	     !memcmp(exts, expected->exts, expected->exts_len);
	expected->n_marked += layer->is_mixed;
	expected->n_plain += !layer->is_mixed;
	layer_close(layer);
	return ok;
}

int mark_change(struct file *file, bool mixed, struct expected *expected, const char *what)
{
	struct mem_inode *inode = mem_file_inode(file);
	uint64_t n_states = 0;
	struct layer *layer;
	struct err err = { 0 };
	struct cut_log log;
	int rc;

	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s: %s", what, err.message);
	expected->may_be_marked = layer->is_mixed || mixed;
	expected->may_be_plain = !layer->is_mixed || !mixed;
	expected->n_marked = expected->n_plain = 0;
	cut_log_start(&log, file, UINT64_MAX);
	rc = layer_mark_mixed(layer, mixed, &err);
	cut_log_stop(&log);
	cr_assert_eq(layer->is_mixed, rc ? !mixed : mixed, "%s", what);
	if (rc) {
		cr_assert_eq(log.n_units, 0, "%s: it wrote before it refused", what);
		cr_assert(strstr(err.message, "no room"), "%s: %s", what, err.message);
	}
	cr_assert_eq(cut_log_judge(&log, 1, mark_state_ok, expected, &n_states), 0, "%s", what);
	cr_assert(rc || n_states > 1, "%s", what);
	cr_assert(rc || (mixed ? expected->n_marked : expected->n_plain) > 0, "%s", what);
	cut_log_free(&log);
	layer_close(layer);
	expected->may_be_marked = rc ? !mixed : mixed;
	expected->may_be_plain = !expected->may_be_marked;
	cr_assert(mark_state_ok(file, expected), "%s: after it, %d", what, rc);
	cr_assert_eq(be32(inode->bytes), 0x514649fb);
	return rc;
}

bool mark_take_marker_away(uint8_t *image, size_t len, enum tail tail)
{
	uint64_t name_off = be64(image + 8);
	uint32_t name_len = be32(image + 16);
	size_t at = be32(image + 4) == 2 ? 72 : be32(image + 100), padding = 0;

	for (; be32(image + at); at += 8 + round_up(be32(image + at + 4), 8))
		padding = -be32(image + at + 4) % 8;
	if (tail == TAIL_NO_PADDING)
		at -= padding;
	if (!name_len || at + name_len > len)
		return false;
	memmove(image + at, image + name_off, name_len);
	put_be64(image + 8, at);
	return true;
}

void mark_expect_of(struct expected *expected, const struct build_how *how, const uint8_t *image)
{
	*expected = (struct expected){ .backing_name = how->backing_name,
				       .backing_format =
					       how->backing_format ? IMAGE_RAW : IMAGE_UNKNOWN };
	expected->exts_len = mark_other_exts(image, (size_t)1 << how->cluster_bits, expected->exts);
}

struct file *mark_file_of(const struct build_image *image)
{
	struct file *file = mem_file_new("img", image->len);

	memcpy(mem_file_inode(file)->bytes, image->bytes, image->len);
	return file;
}

int mark_there_and_back(const struct build_how *how, enum tail tail)
{
	struct build_image image = build_image(how);
	struct expected expected;
	struct file *file;
	char what[128];
	int rc = 0;

	snprintf(what, sizeof(what),
		 "version %u, clusters of %u bits, %u bytes of names, name of %zu%s", how->version,
		 how->cluster_bits, how->n_exts ? how->exts[0].len : 0,
		 how->backing_name ? strlen(how->backing_name) : 0,
		 tail == TAIL_MARKER ? "" : ", no end marker");
	if (tail == TAIL_MARKER ||
	    mark_take_marker_away(image.bytes, (size_t)1 << how->cluster_bits, tail)) {
		file = mark_file_of(&image);
		mark_expect_of(&expected, how, image.bytes);
		rc = mark_change(file, true, &expected, what);
		cr_assert(!rc || rc == -ENOSPC, "%s: %d", what, rc);
		if (!rc) {
			cr_assert_eq(mark_change(file, false, &expected, what), 0);
			cr_assert_eq(mark_change(file, true, &expected, what), 0);
		}
		file_close(file);
	}
	build_image_free(&image);
	return rc;
}
