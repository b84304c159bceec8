/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The mark of a changed base in headers of all shapes: extensions that end before,
 * at and behind the border of a sector, names that are in the way, no end marker,
 * no room. The power is cut at every write: each state opens, has the same link
 * and the same other extensions, and has the mark or not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_header.h"
#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "io/base.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"

#define SECTOR 512u

/* What all states must agree on. */
struct expected {
	const char *backing_name; /* NULL: none */
	enum image_format backing_format;
	uint8_t exts[4096]; /* types, lengths and data, without the mark */
	size_t exts_len;
	bool may_be_marked, may_be_plain;
	uint64_t n_marked, n_plain;
};

/* Independent of formats/: the extensions but the mark, one behind the other. */
static size_t other_exts(const uint8_t *image, size_t cluster_len, uint8_t *out)
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

static bool state_ok(struct file *state, void *opaque)
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
	     other_exts(inode->bytes, layer->cluster_len, exts) == expected->exts_len &&
	     !memcmp(exts, expected->exts, expected->exts_len);
	expected->n_marked += layer->is_mixed;
	expected->n_plain += !layer->is_mixed;
	layer_close(layer);
	return ok;
}

/* Sets or clears the mark; judges every cut. 0 or what it was refused with, nothing changed. */
static int change(struct file *file, bool mixed, struct expected *expected, const char *what)
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
	cr_assert_eq(cut_log_judge(&log, 1, state_ok, expected, &n_states), 0, "%s", what);
	cr_assert(rc || n_states > 1, "%s", what);
	cr_assert(rc || (mixed ? expected->n_marked : expected->n_plain) > 0, "%s", what);
	cut_log_free(&log);
	layer_close(layer);
	expected->may_be_marked = rc ? !mixed : mixed;
	expected->may_be_plain = !expected->may_be_marked;
	cr_assert(state_ok(file, expected), "%s: after it, %d", what, rc);
	cr_assert_eq(be32(inode->bytes), 0x514649fb);
	return rc;
}

/* How the extensions end. */
enum tail {
	TAIL_MARKER,
	TAIL_NAME,       /* the backing file's name begins in place of the marker */
	TAIL_NO_PADDING, /* and in place of the last one's padding */
};

static bool take_marker_away(uint8_t *image, size_t len, enum tail tail)
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

static void expect_of(struct expected *expected, const struct build_how *how, const uint8_t *image)
{
	*expected = (struct expected){ .backing_name = how->backing_name,
				       .backing_format =
					       how->backing_format ? IMAGE_RAW : IMAGE_UNKNOWN };
	expected->exts_len = other_exts(image, (size_t)1 << how->cluster_bits, expected->exts);
}

static struct file *file_of(const struct build_image *image)
{
	struct file *file = mem_file_new("img", image->len);

	memcpy(mem_file_inode(file)->bytes, image->bytes, image->len);
	return file;
}

/* Set, clear, set again. How the first went. */
static int there_and_back(const struct build_how *how, enum tail tail)
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
	    take_marker_away(image.bytes, (size_t)1 << how->cluster_bits, tail)) {
		file = file_of(&image);
		expect_of(&expected, how, image.bytes);
		rc = change(file, true, &expected, what);
		cr_assert(!rc || rc == -ENOSPC, "%s: %d", what, rc);
		if (!rc) {
			cr_assert_eq(change(file, false, &expected, what), 0);
			cr_assert_eq(change(file, true, &expected, what), 0);
		}
		file_close(file);
	}
	build_image_free(&image);
	return rc;
}

static char long_name[1024];

/* Bytes that header, extensions, end marker and name take. */
static size_t used(const struct build_how *how)
{
	size_t header = how->version == 2 ? 72 : 112;
	size_t name = how->backing_name ? strlen(how->backing_name) : 0;

	return header + 8 + round_up(how->exts[0].len, 8) + (how->backing_format ? 16 : 0) + 8 +
	       name;
}

/* Room is wanting only where it is: these must not be refused. */
static bool has_room(const struct build_how *how, enum tail tail)
{
	return used(how) + 16 <= SECTOR || (tail == TAIL_MARKER && how->cluster_bits >= 12);
}

static void all_names(struct build_how *how, uint64_t *n, uint64_t *n_refused)
{
	static const size_t name_lens[] = { 0, 1, 8, 31, 200, 1023 };
	struct build_ext ext = how->exts[0];

	for (size_t i = 0; i < ARRAY_LEN(name_lens); i++)
		for (enum tail tail = TAIL_MARKER; tail <= TAIL_NO_PADDING; tail++) {
			struct build_ext odd = ext;
			int rc;

			odd.len += tail == TAIL_NO_PADDING ? 1 + (ext.len / 8 + i) % 7 : 0;
			how->exts = &odd;
			memset(long_name, 'n', sizeof(long_name));
			long_name[name_lens[i]] = 0;
			how->backing_name = name_lens[i] ? long_name : NULL;
			how->backing_format = name_lens[i] ? "raw" : NULL;
			if (used(how) > (size_t)1 << how->cluster_bits ||
			    (tail != TAIL_MARKER && !name_lens[i]))
				continue;
			rc = there_and_back(how, tail);
			++*n;
			*n_refused += rc != 0;
			cr_assert(!rc || !has_room(how, tail), "refused with %u bytes of names",
				  odd.len);
		}
	how->exts = NULL;
}

Test(qcow2_mark, every_header_is_as_it_was_after_any_cut)
{
	static const unsigned cluster_bits[] = { 9, 10, 12 };
	static uint8_t names[1200];
	struct build_ext ext = { QCOW2_EXT_FEATURE_NAMES, names, 0 };
	uint64_t n = 0, n_refused = 0;

	memset(names, 7, sizeof(names));
	for (unsigned version = 2; version <= 3; version++)
		for (size_t b = 0; b < ARRAY_LEN(cluster_bits); b++)
			for (ext.len = 0; ext.len <= 1000;
			     ext.len += ext.len < 320 || ext.len > 440 ? 80 : 8) {
				struct build_how how = { .version = version,
							 .cluster_bits = cluster_bits[b],
							 .guest_len = 1 << 16,
							 .exts = &ext,
							 .n_exts = 1 };

				all_names(&how, &n, &n_refused);
			}
	cr_assert(n > 500, "only %" PRIu64 " headers", n);
	cr_assert(n_refused > 20 && n_refused < n / 2, "%" PRIu64 " of %" PRIu64 " refused",
		  n_refused, n);
}

/* As qemu-img 7.2 makes them: the extensions end behind the first sector, the name follows. */
static struct build_how as_qemu_makes_it(struct build_ext *features)
{
	static uint8_t names[8 * 48];

	*features = (struct build_ext){ QCOW2_EXT_FEATURE_NAMES, names, sizeof(names) };
	return (struct build_how){ .version = 3,
				   .cluster_bits = 16,
				   .guest_len = 1 << 20,
				   .backing_name = "base.raw",
				   .backing_format = "raw",
				   .exts = features,
				   .n_exts = 1 };
}

/* A commit that did not come to its header staged it for nothing: the next one writes the same. */
static void stage(struct layer *layer)
{
	struct staged given_up = { 0 }, staged = { 0 };

	cr_assert_eq(layer_stage_link(layer, &given_up), 0);
	cr_assert_eq(layer_stage_link(layer, &staged), 0);
	for (enum stage s = 0; s < N_STAGES; s++) {
		const struct staged_write *a = given_up.head[s], *b = staged.head[s];

		for (; a && b; a = a->next, b = b->next)
			cr_assert(a->host_off == b->host_off && a->len == b->len &&
				  !memcmp(a->bytes, b->bytes, a->len));
		cr_assert(!a && !b);
	}
	staged_clear(&given_up);
	for (enum stage s = 0; s < N_STAGES; s++)
		for (struct staged_write *w = staged.head[s]; w; w = w->next)
			cr_assert_eq(file_write(w->file, w->bytes, w->len, w->host_off), 0);
	staged_clear(&staged);
	layer_link_durable(layer);
}

/* The link is led to `name`, NULL: dropped. */
static void change_link(struct file *file, const char *name, enum image_format format)
{
	struct layer *layer;
	struct err err = { 0 };

	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
	cr_assert_eq(layer_plan_link(layer, name, format, &err), 0, "%s", err.message);
	stage(layer);
	layer_close(layer);
}

static void assert_image(struct file *file, const char *name, enum image_format format, bool mixed)
{
	struct layer *layer;
	struct err err = { 0 };

	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
	cr_assert_eq(!!layer->backing.name, !!name);
	if (name) {
		cr_assert_str_eq(layer->backing.name, name);
		cr_assert_eq(layer->backing.format, format);
	}
	cr_assert_eq(layer->is_mixed, mixed);
	layer_close(layer);
}

static void mark(struct file *file, bool mixed)
{
	struct layer *layer;
	struct err err = { 0 };

	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
	cr_assert_eq(layer_mark_mixed(layer, mixed, &err), 0, "%s", err.message);
	layer_close(layer);
}

Test(qcow2_mark, a_link_led_elsewhere_or_dropped_keeps_it)
{
	struct build_ext features;
	struct build_how how = as_qemu_makes_it(&features);

	for (unsigned version = 2; version <= 3; version++) {
		struct build_image image;
		struct file *file;

		how.version = version;
		image = build_image(&how);
		file = file_of(&image);
		mark(file, true);
		assert_image(file, "base.raw", IMAGE_RAW, true);
		change_link(file, "another/base.qcow2", IMAGE_QCOW2);
		assert_image(file, "another/base.qcow2", IMAGE_QCOW2, true);
		change_link(file, NULL, IMAGE_UNKNOWN);
		assert_image(file, NULL, IMAGE_UNKNOWN, true);
		mark(file, false);
		assert_image(file, NULL, IMAGE_UNKNOWN, false);
		mark(file, true);
		assert_image(file, NULL, IMAGE_UNKNOWN, true);
		file_close(file);
		build_image_free(&image);
	}
}

/* The marker that was not there, and what comes behind it, goes behind the last one's padding,
 * where readers look. The format's extension may change in front of others. */
static void lead_elsewhere(const struct build_how *how, enum tail tail)
{
	struct build_image image = build_image(how);
	struct file *file;

	cr_assert(take_marker_away(image.bytes, 4096, tail));
	file = file_of(&image);
	assert_image(file, how->backing_name, IMAGE_RAW, false);
	change_link(file, "b.qcow2", IMAGE_QCOW2);
	assert_image(file, "b.qcow2", IMAGE_QCOW2, false);
	mark(file, true);
	change_link(file, NULL, IMAGE_UNKNOWN);
	assert_image(file, NULL, IMAGE_UNKNOWN, true);
	file_close(file);
	build_image_free(&image);
}

Test(qcow2_mark, a_link_is_led_elsewhere_where_the_name_ends_the_extensions)
{
	static const uint8_t data[16];

	for (uint32_t len = 0; len <= 16; len++)
		for (unsigned version = 2; version <= 3; version++) {
			struct build_ext ext = { 0x11111111, data, len };
			struct build_how how = { .version = version,
						 .cluster_bits = 12,
						 .guest_len = 1 << 20,
						 .backing_name = "a-base-with-a-longer-name.raw",
						 .backing_format = "raw",
						 .exts = &ext,
						 .n_exts = 1 };

			lead_elsewhere(&how, TAIL_NAME);
			lead_elsewhere(&how, TAIL_NO_PADDING);
		}
}

Test(qcow2_mark, a_failing_write_or_barrier_is_told)
{
	struct build_ext features;
	struct build_how how = as_qemu_makes_it(&features);
	struct build_image image = build_image(&how);

	for (unsigned at = 1; at <= 3; at++) {
		struct file *file = file_of(&image);
		struct layer *layer;
		struct err err = { 0 };
		struct cut_log log;

		cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
		cut_log_start(&log, file, UINT64_MAX);
		log.fail_sync = at;
		cr_assert_eq(layer_mark_mixed(layer, true, &err), -EIO, "barrier %u", at);
		cut_log_stop(&log);
		cut_log_free(&log);
		cr_assert(!layer->is_mixed);
		cr_assert(strstr(err.message, "img: "), "%s", err.message);
		layer_close(layer);
		file_close(file);
	}
	build_image_free(&image);
}

Test(qcow2_mark, a_wrong_length_is_refused_and_unknown_flags_are_kept)
{
	static const uint8_t data[12] = { 0, 0, 0, 6 };
	struct build_ext ext = { QCOW2_EXT_MIXED, data, 8 };
	struct build_how how = { .guest_len = 1 << 20, .exts = &ext, .n_exts = 1 };
	struct build_image image = build_image(&how);
	struct file *file = file_of(&image);
	struct layer *layer;
	struct err err = { 0 };

	mark(file, true);
	assert_image(file, NULL, IMAGE_UNKNOWN, true);
	cr_assert_eq(be32(mem_file_inode(file)->bytes + 112 + 8), 7);
	mark(file, false);
	assert_image(file, NULL, IMAGE_UNKNOWN, false);
	cr_assert_eq(be32(mem_file_inode(file)->bytes + 112 + 8), 6);
	file_close(file);
	build_image_free(&image);

	ext.len = 12;
	image = build_image(&how);
	file = file_of(&image);
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), -EUCLEAN);
	cr_assert(strstr(err.message, "12 bytes, not 8"), "%s", err.message);
	file_close(file);
	build_image_free(&image);
}
