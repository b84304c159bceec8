/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: what the header may say: every field on both sides of its bounds, files
 * that end early, and the backing file's name.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer_fill.h"
#include "formats/qed/disk.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/qed_images.h"
#include "tests/support/rigs/qed_rig.h"

struct header_case {
	const char *what;
	unsigned at, len; /* the field */
	uint64_t value;
	int open_rc;    /* of qed_open() */
	int unreadable; /* code of the refusal */
	const char *says;
};

/* The image: clusters of 4 KiB, tables of 2, header 1, L1 at 4096, guest 1 MiB, file 12 KiB. */
static const struct header_case header_cases[] = {
	{ "magic", QED_H_MAGIC, 4, 0x00444552, -EINVAL, 0, "wrong magic" },
	{ "cluster 0", QED_H_CLUSTER_LEN, 4, 0, -EUCLEAN, 0, "cluster_size" },
	{ "cluster 2048", QED_H_CLUSTER_LEN, 4, 2048, -EUCLEAN, 0, "cluster_size" },
	{ "cluster 4097", QED_H_CLUSTER_LEN, 4, 4097, -EUCLEAN, 0, "cluster_size" },
	{ "cluster 6144", QED_H_CLUSTER_LEN, 4, 6144, -EUCLEAN, 0, "cluster_size" },
	{ "cluster 8192: L1 misaligned", QED_H_CLUSTER_LEN, 4, 8192, -EUCLEAN, 0, "L1" },
	{ "cluster 2^27", QED_H_CLUSTER_LEN, 4, 1u << 27, -EUCLEAN, 0, "cluster_size" },
	{ "cluster 2^31", QED_H_CLUSTER_LEN, 4, 1u << 31, -EUCLEAN, 0, "cluster_size" },
	{ "table 0", QED_H_TABLE_CLUSTERS, 4, 0, -EUCLEAN, 0, "table_size" },
	{ "table 1", QED_H_TABLE_CLUSTERS, 4, 1, 0, 0, NULL },
	{ "table 3", QED_H_TABLE_CLUSTERS, 4, 3, -EUCLEAN, 0, "table_size" },
	{ "table 4: beyond the end", QED_H_TABLE_CLUSTERS, 4, 4, -EUCLEAN, 0, "end of the file" },
	{ "table 32", QED_H_TABLE_CLUSTERS, 4, 32, -EUCLEAN, 0, "table_size" },
	{ "header 0", QED_H_HEADER_CLUSTERS, 4, 0, -EUCLEAN, 0, "header_size" },
	{ "header over L1", QED_H_HEADER_CLUSTERS, 4, 2, -EUCLEAN, 0, "L1" },
	{ "header 2^32 - 1", QED_H_HEADER_CLUSTERS, 4, UINT32_MAX, -EUCLEAN, 0, "L1" },
	{ "feature 3", QED_H_FEATURES, 8, 8, 0, -ENOTSUP, "bit 3" },
	{ "feature 63", QED_H_FEATURES, 8, UINT64_C(1) << 63, 0, -ENOTSUP, "bit 63" },
	{ "NO_PROBE alone", QED_H_FEATURES, 8, 4, 0, 0, NULL },
	{ "compat", QED_H_COMPAT, 8, UINT64_MAX, 0, 0, NULL },
	{ "autoclear", QED_H_AUTOCLEAR, 8, UINT64_MAX, 0, 0, NULL },
	{ "L1 at 0", QED_H_L1_OFF, 8, 0, -EUCLEAN, 0, "L1" },
	{ "L1 at 512", QED_H_L1_OFF, 8, 512, -EUCLEAN, 0, "L1" },
	{ "L1 beyond", QED_H_L1_OFF, 8, 8192, -EUCLEAN, 0, "end of the file" },
	{ "L1 at 2^64 - 4096", QED_H_L1_OFF, 8, -UINT64_C(4096), -EUCLEAN, 0, "end of the file" },
	{ "guest 0", QED_H_GUEST_LEN, 8, 0, 0, 0, NULL },
	{ "guest 512", QED_H_GUEST_LEN, 8, 512, 0, 0, NULL },
	{ "guest 513", QED_H_GUEST_LEN, 8, 513, -EUCLEAN, 0, "512" },
	{ "guest, all tables map", QED_H_GUEST_LEN, 8, UINT64_C(1) << 32, 0, 0, NULL },
	{ "guest, a sector more", QED_H_GUEST_LEN, 8, (UINT64_C(1) << 32) + 512, -EUCLEAN, 0,
	  "tables can map" },
	{ "guest 2^64 - 512", QED_H_GUEST_LEN, 8, -UINT64_C(512), -EUCLEAN, 0, "tables can map" },
	{ "name unused", QED_H_BACKING_OFF, 8, UINT64_MAX, 0, 0, NULL },
};

static void set_field(struct file *file, unsigned at, unsigned len, uint64_t value)
{
	uint8_t *header = mem_file_inode(file)->bytes;

	if (len == 4)
		put_le32(header + at, (uint32_t)value);
	else
		put_le64(header + at, value);
}

Test(qed_header, every_field_is_judged_at_its_bounds)
{
	for (size_t i = 0; i < ARRAY_LEN(header_cases); i++) {
		const struct header_case *c = &header_cases[i];
		struct file *file = qed_images_small();
		struct err err = { 0 };
		struct qed_rig rig;

		set_field(file, c->at, c->len, c->value);
		int rc = qed_rig_open(&rig, file, &err);
		cr_expect_eq(rc, c->open_rc, "%s: %d %s", c->what, rc, err.message);
		const char *text = rc ? err.message : rig.layer->refused.read.why;
		cr_expect(!c->says || strstr(text, c->says), "%s: %s", c->what, text);
		if (rc)
			cr_expect(strstr(err.message, "small.qed"), "%s", c->what);
		else
			cr_expect_eq(rig.layer->refused.read.code, c->unreadable, "%s", c->what);
		if (!rc)
			qed_rig_close(&rig);
		file_close(file);
	}
}

Test(qed_header, a_header_of_a_short_file_is_refused)
{
	for (uint64_t len = 0; len <= 12 * KiB; len += len < 80 ? 1 : 61) {
		struct file *file = qed_images_small();
		struct err err = { 0 };
		struct qed_rig rig;

		cr_assert_eq(file_truncate(file, len), 0);
		int rc = qed_rig_open(&rig, file, &err);
		/* The last cluster of the L1 table may be cut: it reads as padded with zeros. */
		cr_assert_eq(rc, len > 8 * KiB ? 0 : -EUCLEAN, "%" PRIu64 ": %s", len, err.message);
		if (!rc) {
			int expect = len == 12 * KiB ? 0 : -EUCLEAN;
			cr_assert_eq(layer_begin_writing(rig.layer, &err), expect);
			qed_rig_close(&rig);
		}
		file_close(file);
	}
}

static int open_with_name(struct file *file, uint64_t features, uint32_t off, uint32_t len,
			  struct qed_rig *rig, struct err *err)
{
	set_field(file, QED_H_FEATURES, 8, features);
	set_field(file, QED_H_BACKING_OFF, 4, off);
	set_field(file, QED_H_BACKING_LEN, 4, len);
	return qed_rig_open(rig, file, err);
}

Test(qed_header, a_backing_name_must_fit_into_the_header)
{
	const struct {
		uint64_t features;
		uint32_t off, len;
		int rc;
	} cases[] = {
		{ 1, 64, 5, 0 },
		{ 5, 64, 5, 0 },
		{ 1, 63, 5, -EUCLEAN },   /* in the header */
		{ 1, 4091, 5, 0 },        /* up to the end of its clusters */
		{ 1, 4092, 5, -EUCLEAN }, /* one byte beyond */
		{ 1, 64, 4032, 0 },       /* as long as there is room */
		{ 1, 64, 4033, -EUCLEAN },
		{ 1, 64, UINT32_MAX, -EUCLEAN },
		{ 1, UINT32_MAX, 1, -EUCLEAN },
		{ 1, UINT32_MAX, UINT32_MAX, -EUCLEAN },
		{ 1, 64, 0, 0 }, /* no name: for the chain to refuse */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file *file = qed_images_small();
		struct qed_rig rig;

		memset(mem_file_inode(file)->bytes + 64, 'n', 4032);
		struct err err = { 0 };
		int rc = open_with_name(file, cases[i].features, cases[i].off, cases[i].len, &rig,
					&err);
		cr_assert_eq(rc, cases[i].rc, "case %zu: %d", i, rc);
		cr_assert(!rc || strstr(err.message, "does not fit"), "case %zu: %s", i,
			  err.message);
		if (!rc) {
			cr_assert(rig.layer->has_backing);
			cr_assert_eq(strlen(rig.layer->backing.name), cases[i].len);
			cr_assert_eq(rig.layer->backing.format,
				     cases[i].features & 4 ? IMAGE_RAW : IMAGE_UNKNOWN);
			qed_rig_close(&rig);
		}
		file_close(file);
	}

	struct file *file = qed_images_small();
	struct qed_rig rig;
	memcpy(mem_file_inode(file)->bytes + 64, "a\0b", 3);
	cr_assert_eq(open_with_name(file, 1, 64, 3, &rig, NULL), -EUCLEAN, "NUL");
	file_close(file);
}
