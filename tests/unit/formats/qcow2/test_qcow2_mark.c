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
#include "tests/unit/formats/qcow2/mark_states.h"

#define SECTOR 512u

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
			rc = mark_there_and_back(how, tail);
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
		file = mark_file_of(&image);
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

	cr_assert(mark_take_marker_away(image.bytes, 4096, tail));
	file = mark_file_of(&image);
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
		struct file *file = mark_file_of(&image);
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
	struct file *file = mark_file_of(&image);
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
	file = mark_file_of(&image);
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), -EUCLEAN);
	cr_assert(strstr(err.message, "12 bytes, not 8"), "%s", err.message);
	file_close(file);
	build_image_free(&image);
}
