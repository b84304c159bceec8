/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED and QEMU: images written by qemu-io are mapped as qemu-img maps them, a
 * pull done by hand over such an image ends as one that qemu-img finds clean
 * and equal, and QEMU goes on with what is made and written here. Skipped
 * where qemu-img is missing.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_header.h"
#include "formats/core/staged.h"
#include "formats/qed/check.h"
#include "formats/qed/create.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"
#include "tests/support/rigs/qed_rig.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(100);
TestSuite(qed_interop, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(100));

static const struct shape {
	uint32_t cluster_len, table_clusters;
	uint64_t guest_len;
} shapes[] = {
	{ 4096, 2, 3 * MiB + 512 },      { 4096, 16, 40 * MiB },
	{ 65536, 4, 20 * MiB + 4096 },   { 65536, 16, 9 * GiB + 512 },
	{ 1 * MiB, 2, 50 * MiB + 1024 },
};

static void skip_without_qemu(void)
{
	if (scratch_run("qemu-img", "--version", NULL) || scratch_run("qemu-io", "--version", NULL))
		scratch_skip("qemu-img and qemu-io are needed");
}

static struct file *open_file(const char *path, bool write)
{
	const struct file_open how = { .name = path, .write = write };
	struct file *file;
	struct err err = { 0 };

	cr_assert_eq(file_opener_posix()->open(file_opener_posix(), &how, &file, &err), 0, "%s",
		     err.message);
	return file;
}

static void qemu_write(const char *path, const char *format, const char *flags, uint64_t off,
		       uint64_t len)
{
	char command[128];

	snprintf(command, sizeof(command), "write %s %" PRIu64 " %" PRIu64, flags, off, len);
	cr_assert_eq(scratch_run("qemu-io", "-f", format, "-c", command, path, NULL), 0, "%s",
		     command);
}

/* Writes of some sectors; every third one zeros whole clusters. */
static void qemu_writes(const char *path, const char *format, const struct shape *shape)
{
	uint64_t cluster_len = shape->cluster_len;

	for (unsigned n = 0; n < 12; n++) {
		uint64_t off = rig_roll(shape->guest_len / 512) * 512;
		uint64_t len =
			MIN(512 + rig_roll(6 * cluster_len / 512) * 512, shape->guest_len - off);
		char flags[16] = "-z";

		if (n == 1) /* the last bytes of the disk */
			off = shape->guest_len - len;
		if (n % 3) {
			snprintf(flags, sizeof(flags), "-P %u", n);
		} else {
			off = round_down(off, cluster_len);
			len = MIN(round_up(len, cluster_len), shape->guest_len - off);
		}
		qemu_write(path, format, flags, off, len);
	}
}

/* A raw base with data in places, and an overlay on it that QEMU has written to. */
static const char *make_overlay(const struct shape *shape, uint64_t base_len)
{
	const struct shape base_shape = { shape->cluster_len, 0, base_len };
	char options[128], size[32];

	snprintf(size, sizeof(size), "%" PRIu64, base_len);
	cr_assert_eq(scratch_run("qemu-img", "create", "-f", "raw", scratch("base"), size, NULL),
		     0);
	qemu_writes(scratch("base"), "raw", &base_shape);
	snprintf(options, sizeof(options), "cluster_size=%" PRIu32 ",table_size=%" PRIu32,
		 shape->cluster_len, shape->table_clusters);
	snprintf(size, sizeof(size), "%" PRIu64, shape->guest_len);
	cr_assert_eq(scratch_run("qemu-img", "create", "-f", "qed", "-o", options, "-F", "raw",
				 "-b", "base", scratch("overlay"), size, NULL),
		     0);
	qemu_writes(scratch("overlay"), "qed", shape);
	return scratch("overlay");
}

static void open_overlay(struct qed_rig *rig, bool write)
{
	struct err err = { 0 };
	int rc = qed_rig_open(rig, open_file(scratch("overlay"), write), &err);

	cr_assert_eq(rc, 0, "%s", err.message);
}

static void close_overlay(struct qed_rig *rig)
{
	struct file *file = rig->file;

	qed_rig_close(rig);
	file_close(file);
}

/* ---- map ---- */

/* One element of qemu-img's list. */
struct qemu_extent {
	uint64_t start, len, off;
	unsigned depth;
	bool zero, data;
};

static bool parse_extent(const char *line, struct qemu_extent *e)
{
	const char *json = strstr(line, "{ \"start\"");
	char present[8], zero[8], data[8];

	*e = (struct qemu_extent){ 0 };
	if (!json)
		return false;
	int n = sscanf(json,
		       "{ \"start\": %" SCNu64 ", \"length\": %" SCNu64
		       ", \"depth\": %u, \"present\": %7[a-z], \"zero\": %7[a-z], \"data\": %7[a-z]"
		       ", \"offset\": %" SCNu64,
		       &e->start, &e->len, &e->depth, present, zero, data, &e->off);
	cr_assert_geq(n, 6, "%s", line);
	e->zero = !strcmp(zero, "true");
	e->data = !strcmp(data, "true");
	return true;
}

/* What both say about [start, start + len) must agree to the byte. */
static void same_extent(struct qed_rig *rig, const struct qemu_extent *q)
{
	for (uint64_t at = q->start; at < q->start + q->len;) {
		struct extent e;

		cr_assert_eq(qed_rig_map(rig, at, q->start + q->len - at, &e), 0);
		if (q->depth)
			cr_assert_eq(e.kind, EXTENT_UNALLOCATED, "at %" PRIu64, at);
		else if (q->zero)
			cr_assert_eq(e.kind, EXTENT_ZERO, "at %" PRIu64, at);
		else
			cr_assert(e.kind == EXTENT_DATA && e.host_off == q->off + (at - q->start),
				  "at %" PRIu64, at);
		at += e.len;
	}
}

static void same_map(const struct shape *shape, uint64_t seed)
{
	char command[512], line[512];
	uint64_t end = 0;
	unsigned n_data = 0;
	struct qemu_extent q;
	struct qed_rig rig;

	rig_seed(seed);
	snprintf(command, sizeof(command), "qemu-img map -f qed --output=json '%s'",
		 make_overlay(shape, shape->guest_len));
	open_overlay(&rig, false);
	FILE *map = popen(command, "r");
	cr_assert(map);
	while (fgets(line, sizeof(line), map)) {
		if (!parse_extent(line, &q))
			continue;
		cr_assert_eq(q.start, end);
		same_extent(&rig, &q);
		end += q.len;
		n_data += !q.depth && q.data;
	}
	cr_assert_eq(pclose(map), 0);
	cr_assert_eq(end, shape->guest_len, "seed %" PRIu64, seed);
	cr_assert_gt(n_data, 0);
	close_overlay(&rig);
}

Test(qed_interop, maps_are_the_same)
{
	skip_without_qemu();
	for (uint64_t i = 0; i < ARRAY_LEN(shapes); i++)
		same_map(&shapes[i], 100 + i);
}

/* ---- pull ---- */

static bool is_zero(const uint8_t *buf, size_t len)
{
	return !buf[0] && !memcmp(buf, buf + 1, len - 1);
}

/* Copies one cluster from the base, which may end before or in it. */
static void pull_cluster(struct qed_rig *rig, struct file *base, uint64_t guest_off, uint8_t *buf)
{
	struct mapping map = { .guest_off = guest_off, .len = rig->layer->cluster_len };
	uint64_t got;

	cr_assert_eq(file_read_padded(base, buf, map.len, guest_off), 0);
	map.is_zero = is_zero(buf, map.len);
	if (map.is_zero && rig_roll(2))
		return; /* needs no entry in a full pull */
	if (!map.is_zero) {
		cr_assert_eq(layer_reserve(rig->layer, map.len, &map.host_off, &got), 0);
		cr_assert_eq(file_write(rig->file, buf, map.len, map.host_off), 0);
	}
	cr_assert_eq(qed_rig_publish(rig, &map, 1), 0);
	if (rig_roll(50) == 0)
		qed_rig_commit(rig);
}

static void pull(struct qed_rig *rig, struct file *base)
{
	autofree uint8_t *buf = malloc(rig->layer->cluster_len);
	struct staged staged = { 0 };
	struct extent e;

	for (uint64_t at = 0; at < rig->layer->guest_len; at += e.len) {
		struct file_status status = { .len = UINT64_MAX };

		cr_assert_eq(qed_rig_map(rig, at, rig->layer->guest_len - at, &e), 0);
		if (e.kind != EXTENT_UNALLOCATED)
			continue;
		/* Gigabytes of hole are left out, the file system permitting. */
		if (at < base->len)
			cr_assert_eq(file_status(base, at, &status), 0);
		if (at >= base->len || (status.is_hole && status.len >= e.len))
			continue;
		e.len = MIN(e.len, (uint64_t)rig->layer->cluster_len);
		pull_cluster(rig, base, at, buf);
	}
	qed_rig_commit(rig);
	cr_assert_eq(layer_stage_link(rig->layer, &staged), 0);
	rig_write_stages(&staged, STAGE_HEADER, N_STAGES);
}

static void pull_and_compare(const struct shape *shape, uint64_t base_len, uint64_t seed)
{
	struct err err = { 0 };
	struct qed_rig rig;

	rig_seed(seed);
	make_overlay(shape, base_len);
	cr_assert_eq(scratch_run("qemu-img", "convert", "-f", "qed", "-O", "raw",
				 scratch("overlay"), scratch("flat"), NULL),
		     0);
	open_overlay(&rig, true);
	cr_assert(rig.layer->has_backing && rig.layer->backing.format == IMAGE_RAW);
	cr_assert_str_eq(rig.layer->backing.name, "base");
	cr_assert_eq(layer_begin_writing(rig.layer, &err), 0, "%s", err.message);
	struct file *base = open_file(scratch("base"), false);
	pull(&rig, base);
	file_close(base);
	close_overlay(&rig);

	cr_assert_eq(remove(scratch("base")), 0);
	cr_assert_eq(scratch_run("qemu-img", "check", "-f", "qed", scratch("overlay"), NULL), 0,
		     "seed %" PRIu64, seed);
	cr_assert_eq(scratch_run("qemu-img", "compare", "-f", "qed", "-F", "raw",
				 scratch("overlay"), scratch("flat"), NULL),
		     0, "seed %" PRIu64, seed);
	/* QEMU goes on writing to both. */
	qemu_write(scratch("overlay"), "qed", "-P 99", shape->guest_len / 2 & ~UINT64_C(511),
		   70144);
	qemu_write(scratch("flat"), "raw", "-P 99", shape->guest_len / 2 & ~UINT64_C(511), 70144);
	cr_assert_eq(scratch_run("qemu-img", "check", "-f", "qed", scratch("overlay"), NULL), 0);
	cr_assert_eq(scratch_run("qemu-img", "compare", "-f", "qed", "-F", "raw",
				 scratch("overlay"), scratch("flat"), NULL),
		     0);
}

Test(qed_interop, a_pull_is_clean_and_equal)
{
	skip_without_qemu();
	for (uint64_t i = 0; i < ARRAY_LEN(shapes); i++)
		pull_and_compare(&shapes[i], shapes[i].guest_len, 200 + i);
}

Test(qed_interop, a_shorter_and_a_longer_base)
{
	skip_without_qemu();
	for (uint64_t i = 0; i < 3; i++) {
		uint64_t len = shapes[i].guest_len;

		pull_and_compare(&shapes[i], round_down(len / 3, 512), 300 + i);
		pull_and_compare(&shapes[i], len + 5 * MiB, 310 + i);
	}
}

/* ---- create, check ---- */

static struct check_result check_overlay(void)
{
	struct check_result found = { 0 };
	struct qed_rig rig;

	open_overlay(&rig, false);
	cr_assert_eq(qed_check(rig.layer, &found, NULL), 0);
	close_overlay(&rig);
	return found;
}

Test(qed_interop, qemu_takes_new_images)
{
	skip_without_qemu();
	for (uint64_t i = 0; i < ARRAY_LEN(shapes); i++) {
		const struct image_create how = { .guest_len = shapes[i].guest_len,
						  .cluster_len = shapes[i].cluster_len,
						  .table_clusters = shapes[i].table_clusters };
		struct file *file;
		struct err err = { 0 };

		remove(scratch("overlay"));
		cr_assert_eq(file_opener_posix()->create(file_opener_posix(), scratch("overlay"),
							 &file, &err),
			     0, "%s", err.message);
		cr_assert_eq(qed_create(file, &how, &err), 0, "%s", err.message);
		file_close(file);
		rig_seed(400 + i);
		cr_assert_eq(
			scratch_run("qemu-img", "check", "-f", "qed", scratch("overlay"), NULL), 0);
		qemu_writes(scratch("overlay"), "qed", &shapes[i]);
		cr_assert_eq(
			scratch_run("qemu-img", "check", "-f", "qed", scratch("overlay"), NULL), 0);
		struct check_result found = check_overlay();
		cr_assert(!found.n_errors && !found.n_leaks);
		cr_assert_gt(found.n_allocated_clusters, 0);
	}
}

/* Random entries overwritten: whether it is an error (2), a leak (3) or nothing (0), both agree. */
Test(qed_interop, checks_agree_on_damage)
{
	const struct shape *shape = &shapes[0];
	unsigned n[4] = { 0 };

	skip_without_qemu();
	rig_seed(500);
	make_overlay(shape, shape->guest_len);
	struct file *file = open_file(scratch("overlay"), true);
	for (unsigned i = 0; i < 60; i++) {
		uint64_t n_clusters = file->len / shape->cluster_len, l2_off, at;
		uint8_t old[8], entry[8];

		cr_assert_eq(file_read(file, old, 8, shape->cluster_len), 0);
		l2_off = le64(old);
		at = rig_roll(5) ? l2_off + rig_roll(1024) * 8
				 : shape->cluster_len + rig_roll(8) * 8;
		put_le64(entry, rig_roll(n_clusters + 2) * shape->cluster_len +
					(rig_roll(6) == 0 ? 512 : 0));
		cr_assert_eq(file_read(file, old, 8, at), 0);
		cr_assert_eq(file_write(file, entry, 8, at), 0);
		struct check_result found = check_overlay();
		int theirs = scratch_run("qemu-img", "check", "-U", "-f", "qed", scratch("overlay"),
					 NULL);
		int ours = found.n_errors ? 2 : found.n_leaks ? 3 : 0;
		cr_assert_eq(ours, theirs, "round %u: %#" PRIx64 " at %#" PRIx64 ": %d, QEMU %d", i,
			     le64(entry), at, ours, theirs);
		n[ours]++;
		cr_assert_eq(file_write(file, old, 8, at), 0);
	}
	cr_assert(n[2] && n[3] + n[0], "%u %u %u", n[0], n[2], n[3]);
	file_close(file);
}
