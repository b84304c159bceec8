/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED with unreferenced clusters, as begin_writing() finds them: afterwards
 * none is left and the file is as short as its content, every guest byte reads
 * as before, and so it does after a power cut at any moment of it. With little
 * room on the disk some may be left, and nothing else is different.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/qed/check.h"
#include "formats/qed/compact.h"
#include "formats/qed/image.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/effort.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/qed_rig.h"
#include "tests/support/rigs/rig.h"

#define CLUSTER 4096u
#define N_GUEST 6000u /* clusters: 12 L2 tables of one cluster */
#define N_DATA  48u

struct image {
	uint64_t seed;
	struct file *file;
	uint64_t guest_idx[N_DATA]; /* that were written once */
	bool is_there[N_DATA];      /* and are still named */
	unsigned n;
};

/* Copies that stay and copies that failed, in any order. */
static void fill(struct image *image, struct qed_rig *rig)
{
	struct layer *layer = rig->layer;
	uint8_t buf[CLUSTER];

	while (image->n < N_DATA) {
		struct mapping map = { .guest_off = rig_roll(N_GUEST) * CLUSTER, .len = CLUSTER };
		struct extent e;
		uint64_t got;

		cr_assert_eq(qed_rig_map(rig, map.guest_off, CLUSTER, &e), 0);
		if (e.kind != EXTENT_UNALLOCATED)
			continue;
		cr_assert_eq(layer_reserve(layer, CLUSTER, &map.host_off, &got), 0);
		qed_rig_pattern(buf, CLUSTER, map.guest_off, image->seed);
		cr_assert_eq(file_write(rig->file, buf, CLUSTER, map.host_off), 0);
		cr_assert_eq(qed_rig_publish(rig, &map, 1), 0);
		image->is_there[image->n] = true;
		image->guest_idx[image->n++] = map.guest_off / CLUSTER;
	}
	qed_rig_commit(rig);
}

/* What nothing names any more stays behind in the file: data, and tables with all they name. */
static void forget_some(struct image *image, struct qed_rig *rig, unsigned odds)
{
	const struct qed *q = qed_of(rig->layer);
	uint8_t *bytes = mem_file_inode(rig->file)->bytes;

	for (unsigned i = 0; i < image->n; i++) {
		uint64_t guest_off = image->guest_idx[i] * CLUSTER;
		uint64_t l1_idx = guest_off >> q->l2_bits;
		uint64_t l2_off = le64(bytes + q->l1_off + 8 * l1_idx);
		uint64_t l2_idx = image->guest_idx[i] & ((UINT64_C(1) << q->table_bits) - 1);

		if (rig_roll(10) >= odds)
			continue;
		put_le64(bytes + l2_off + 8 * l2_idx, 0);
		image->is_there[i] = false;
	}
	for (uint64_t i = 0; i < q->table_len / 8; i++) {
		if (rig_roll(4))
			continue;
		put_le64(bytes + q->l1_off + 8 * i, 0);
		for (unsigned k = 0; k < image->n; k++)
			if (image->guest_idx[k] * CLUSTER >> q->l2_bits == i)
				image->is_there[k] = false;
	}
}

static void make_image(struct image *image, uint64_t seed, uint32_t table_clusters)
{
	const struct image_create how = { .guest_len = N_GUEST * CLUSTER,
					  .cluster_len = CLUSTER,
					  .table_clusters = table_clusters };
	struct qed_rig rig;

	*image = (struct image){ .seed = seed, .file = mem_file_new("compact.qed", 0) };
	rig_seed(seed);
	qed_rig_create(&rig, image->file, &how);
	fill(image, &rig);
	forget_some(image, &rig, 1 + seed % 6);
	qed_rig_close(&rig);
	cr_assert_eq(file_truncate(image->file, image->file->len + seed % 3 * 1000), 0);
}

static bool content_ok(const struct image *image, struct qed_rig *rig)
{
	uint8_t want[CLUSTER], got[CLUSTER];

	for (unsigned i = 0; i < image->n; i++) {
		uint64_t guest_off = image->guest_idx[i] * CLUSTER;
		struct extent e;

		if (qed_rig_map(rig, guest_off, CLUSTER, &e) ||
		    e.kind != (image->is_there[i] ? EXTENT_DATA : EXTENT_UNALLOCATED))
			return false;
		if (!image->is_there[i])
			continue;
		qed_rig_pattern(want, CLUSTER, guest_off, image->seed);
		if (file_read(rig->file, got, CLUSTER, e.host_off) || memcmp(want, got, CLUSTER))
			return false;
	}
	return true;
}

/* Sound, whole, and the next try ends it. */
static bool state_ok(struct file *state, void *opaque)
{
	const struct image *image = opaque;
	struct check_result found = { 0 }, after = { 0 };
	struct qed_rig rig;
	bool ok;

	if (qed_rig_open(&rig, state, NULL))
		return false;
	ok = !qed_check(rig.layer, &found, NULL) && !found.n_errors && !found.n_check_errors &&
	     content_ok(image, &rig);
	ok = ok && !layer_begin_writing(rig.layer, NULL) && !qed_check(rig.layer, &after, NULL) &&
	     !after.n_errors && !after.n_leaks && content_ok(image, &rig);
	qed_rig_close(&rig);
	return ok;
}

static uint64_t n_leaks_of(struct file *file)
{
	struct check_result found = { 0 };
	struct qed_rig rig;

	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert_eq(qed_check(rig.layer, &found, NULL), 0);
	cr_assert(!found.n_errors && !found.n_check_errors);
	qed_rig_close(&rig);
	return found.n_leaks;
}

/* Compacts on a disk with so much room; returns the leaks left, and judges every cut. */
static uint64_t compact(uint64_t seed, uint32_t table_clusters, uint64_t n_free_blocks,
			uint64_t *n_states)
{
	struct image image;
	struct cut_log log;
	struct qed_rig rig;
	uint64_t n_left;

	make_image(&image, seed, table_clusters);
	cr_assert_gt(n_leaks_of(image.file), 0);
	cr_assert_eq(qed_rig_open(&rig, image.file, NULL), 0);
	cut_log_start(&log, image.file, n_free_blocks);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
	cut_log_stop(&log);
	cr_assert(content_ok(&image, &rig), "seed %" PRIu64, seed);
	cr_assert(is_aligned(image.file->len, CLUSTER));
	cr_assert_eq(rig.layer->alloc_end, image.file->len);
	cr_assert_eq(strstr(rig.layer->note, "leaked") != NULL, true);
	qed_rig_close(&rig);
	n_left = n_leaks_of(image.file);
	cr_assert_eq(cut_log_judge(&log, seed, state_ok, &image, n_states), 0, "seed %" PRIu64,
		     seed);
	cut_log_free(&log);
	file_close(image.file);
	return n_left;
}

Test(qed_compact, no_leak_is_left_and_every_cut_is_sound)
{
	uint64_t n_states = 0;

	for (uint64_t seed = 1; seed <= 30; seed++)
		for (uint32_t table_clusters = 1; table_clusters <= 4; table_clusters *= 2)
			cr_assert_eq(compact(seed, table_clusters, UINT64_MAX, &n_states), 0,
				     "seed %" PRIu64 ", tables of %u", seed, table_clusters);
	cr_assert_gt(n_states, EFFORT(10000), "%" PRIu64, n_states);
}

Test(qed_compact, a_full_disk_loses_nothing)
{
	uint64_t n_states = 0, n_with_leaks = 0;

	for (uint64_t seed = 1; seed <= 20; seed++)
		for (uint64_t n_free = 0; n_free < 3; n_free++)
			n_with_leaks += compact(seed, 2, n_free, &n_states) > 0;
	cr_assert_lt(n_with_leaks, 60, "room for one cluster is enough for most");
}

/* A cut may fall anywhere, and so may an error: what the failed barrier left is one of the states
 * above, and this handle must say so. */
Test(qed_compact, a_failed_barrier_is_told)
{
	for (unsigned nth = 1; nth <= 4; nth++) {
		struct image image;
		struct cut_log log;
		struct qed_rig rig;
		struct err err = { 0 };

		make_image(&image, 7, 1);
		cr_assert_eq(qed_rig_open(&rig, image.file, NULL), 0);
		cut_log_start(&log, image.file, UINT64_MAX);
		log.fail_sync = nth;
		cr_assert_eq(layer_begin_writing(rig.layer, &err), -EIO);
		cr_assert_neq(strstr(err.message, "compact.qed"), NULL);
		cut_log_stop(&log);
		cr_assert(content_ok(&image, &rig));
		qed_rig_close(&rig);
		cut_log_free(&log);
		file_close(image.file);
	}
}

/* A failed truncation must not make the next job take old bytes for zeros. */
Test(qed_compact, a_second_beginning_keeps_what_is_known_of_old_bytes)
{
	const struct image_create how = { .guest_len = MiB, .cluster_len = CLUSTER };
	struct file *file = mem_file_new("twice.qed", 0);
	uint64_t host_off, got, zero_from;
	struct qed_rig rig;

	qed_rig_create(&rig, file, &how);
	cr_assert_eq(layer_reserve(rig.layer, 4 * CLUSTER, &host_off, &got), 0);
	layer_release(rig.layer, host_off, got);
	zero_from = rig.layer->zero_from;
	cr_assert_eq(zero_from, host_off + got);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
	cr_assert_eq(rig.layer->zero_from, zero_from);
	qed_rig_close(&rig);
	file_close(file);
}
