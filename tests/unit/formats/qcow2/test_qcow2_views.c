/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What several disks of one qcow2 file lack, at the borders where they differ:
 * disks of other lengths than the guest's, tables that only some of them have
 * filled, and references as far as the width goes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer_fill.h"
#include "formats/core/layer_shared.h"
#include "formats/core/staged.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/snapshots/copies.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/refcount.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/write_rig.h"

#define CLUSTER   512u
#define SPAN      (64u * CLUSTER) /* guest bytes of an L2 table */
#define BELOW_LEN (3u * SPAN)
#define ENTRY_LEN 72u /* of a snapshot, as build_snapshots.c makes them */

static uint8_t below[BELOW_LEN];

static struct build_how built_how(void)
{
	return (struct build_how){
		.cluster_bits = 9,
		.guest_len = SPAN + SPAN / 2,
		.backing_name = "b",
		.backing_format = "raw",
		.n_snapshots = 1,
	};
}

static struct file *file_of(const struct build_how *how)
{
	build_fill(below, sizeof(below), 77);
	return write_image_built(how);
}

static void open_rig(struct write_rig *rig, struct file *file)
{
	write_rig_open(rig, file, NULL, below, sizeof(below));
}

static struct destination destination(struct write_rig *rig, uint64_t guest_idx, uint64_t n)
{
	struct destination to;
	struct table_need need;
	int rc;

	while ((rc = qcow2_copy_target(rig->layer, guest_idx * CLUSTER, n * CLUSTER, 0, &to,
				       &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(rig->cache, &need), 0);
	cr_assert_eq(rc, 0, "%s", strerror(-rc));
	return to;
}

static uint64_t refs_of(struct write_rig *rig, uint64_t host_idx)
{
	struct table_need need;
	uint64_t refs;
	int rc;

	while ((rc = qcow2_ref_get(qcow2_of(rig->layer), host_idx, &refs, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(rig->cache, &need), 0);
	cr_assert_eq(rc, 0);
	return refs;
}

/* ---- disks of other lengths ---- */

/* The snapshot's disk as if it were the guest's, without what lies below: all must have been
 * copied. */
static void assert_alone(struct file *file, unsigned snapshot, uint64_t guest_len,
			 const uint8_t *want)
{
	uint8_t *len_at = mem_file_inode(file)->bytes + QCOW2_H_SIZE;
	uint64_t was = be64(len_at);
	autofree uint8_t *got = malloc(guest_len);

	put_be64(len_at, guest_len);
	cr_assert_eq(write_rig_read_fresh(file, NULL, snapshot, NULL, 0, got, guest_len), 0);
	put_be64(len_at, was);
	for (uint64_t i = 0; i < guest_len; i++)
		cr_assert_eq(got[i], want[i], "disk %u of %" PRIu64 " bytes differs at %#" PRIx64,
			     snapshot, guest_len, i);
}

/* Snapshot 2 shares the guest's table that the end of the disks lies in, snapshot 1 has a copy. */
static void copy_all(const uint64_t guest_lens[3])
{
	static const struct build_cluster cluster = { 65, BUILD_DATA, 1 };
	struct build_how how = built_how();
	uint8_t want[BELOW_LEN];
	uint64_t max_len = 0, n_leaks;
	struct write_rig rig;
	struct file *file;
	uint8_t *table;
	char why[256];

	how.guest_len = guest_lens[0];
	how.n_extra_l1 = 1;
	how.n_snapshots = 2;
	how.clusters = &cluster;
	how.n_clusters = 1;
	file = file_of(&how);
	table = mem_file_inode(file)->bytes;
	table += be64(table + 64);
	for (unsigned i = 0; i < 3; i++) {
		max_len = MAX(max_len, guest_lens[i]);
		if (i)
			put_be64(table + (i - 1) * ENTRY_LEN + 48, guest_lens[i]);
	}
	memcpy(want, below, sizeof(want));
	build_fill(want + 65 * CLUSTER, CLUSTER, cluster.seed);
	open_rig(&rig, file);
	cr_assert_eq(rig.layer->backed_len, max_len);
	write_rig_copy(&rig, 0, max_len);
	write_rig_settle(&rig);
	write_rig_close(&rig);
	cr_assert_eq(write_rig_check(file, &n_leaks, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(n_leaks, 0, "%s", why);
	for (unsigned i = 0; i < 3; i++)
		assert_alone(file, i, guest_lens[i], want);
	file_close(file);
}

Test(qcow2_snapshots, each_disk_is_copied_to_its_own_end)
{
	const uint64_t middle = SPAN + SPAN / 2, early = SPAN + SPAN / 4,
		       late = 2 * SPAN + SPAN / 2;
	const uint64_t within = 2 * SPAN - CLUSTER;
	const uint64_t rows[][3] = {
		{ middle, early, late },   { middle, late, early },   { middle, middle, within },
		{ within, early, middle }, { middle, within, early },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		copy_all(rows[i]);
}

/* Growing a disk later must not bring anything to light. */
Test(qcow2_snapshots, nothing_is_filled_in_behind_an_end)
{
	const uint64_t guest_len = SPAN + SPAN / 2, snapshot_len = SPAN + SPAN / 4;
	struct build_how how = built_how();
	uint8_t want[2 * SPAN] = { 0 };
	struct write_rig rig;
	struct file *file;
	uint8_t *table;

	file = file_of(&how);
	table = mem_file_inode(file)->bytes;
	table += be64(table + 64);
	put_be64(table + 48, snapshot_len);
	open_rig(&rig, file);
	write_rig_copy(&rig, 0, guest_len);
	write_rig_settle(&rig);
	write_rig_close(&rig);
	memcpy(want, below, guest_len);
	assert_alone(file, 0, sizeof(want), want);
	memset(want + snapshot_len, 0, guest_len - snapshot_len);
	assert_alone(file, 1, sizeof(want), want);
	file_close(file);
}

/* ---- tables that differ ---- */

/* A run's copies go to the same disks throughout: where only a snapshot lacks a cluster, the copy
 * is none of the guest's, and is not to be taken for what the guest reads there. */
Test(qcow2_snapshots, a_run_ends_where_the_guest_has_data)
{
	static const struct build_cluster cluster = { 64, BUILD_DATA, 1 };
	struct build_how how = built_how();
	struct destination to;
	struct write_rig rig;
	uint8_t bytes[CLUSTER];

	memset(bytes, 0x5a, sizeof(bytes));
	how.clusters = &cluster;
	how.n_clusters = 1;
	open_rig(&rig, file_of(&how));
	write_rig_write(&rig, 68 * CLUSTER, bytes, CLUSTER);
	to = destination(&rig, 66, 5);
	cr_assert(to.len == 2 * CLUSTER && !to.for_snapshots, "%" PRIu64, to.len);
	to = destination(&rig, 68, 3);
	cr_assert(to.len == CLUSTER && to.for_snapshots, "%" PRIu64, to.len);
	to = destination(&rig, 69, 3);
	cr_assert(to.len == 3 * CLUSTER && !to.for_snapshots, "%" PRIu64, to.len);
	write_rig_drop(&rig);
}

/* ---- references ---- */

/* Going back to a snapshot counts its clusters once more first: a reference stays free. */
Test(qcow2_snapshots, tables_and_copies_leave_a_reference_free)
{
	for (unsigned n_snapshots = 1; n_snapshots <= 5; n_snapshots++) {
		struct build_how how = built_how();
		unsigned n_shared = 0;
		struct write_rig rig;

		how.refcount_bits = 2;
		how.n_snapshots = n_snapshots;
		open_rig(&rig, file_of(&how));
		write_rig_copy(&rig, 0, how.guest_len);
		write_rig_settle(&rig);
		for (uint64_t idx = 0; idx < rig.layer->alloc_end / CLUSTER; idx++) {
			uint64_t refs = refs_of(&rig, idx);

			cr_assert_leq(refs, 2, "%u snapshots, host cluster %" PRIu64, n_snapshots,
				      idx);
			n_shared += refs == 2;
		}
		cr_assert_gt(n_shared, how.guest_len / CLUSTER / 2);
		write_rig_drop(&rig);
	}
}

/* ---- the snapshots' L1 tables ---- */

static bool has_table(const struct write_rig *rig)
{
	return be64(qcow2_of(rig->layer)->snapshots->snapshots[0].l1);
}

static void reread(struct write_rig *rig, bool commit_runs)
{
	struct err err = { 0 };
	void *state;

	cr_assert_eq(qcow2_snapshots_reread_begin(rig->layer, commit_runs, &state), 0);
	cr_assert_eq(qcow2_snapshots_reread(rig->layer, state, &err), 0, "%s", err.message);
	qcow2_snapshots_reread_end(rig->layer, state, true);
}

/* What is changed, or is being written, is newer than the disk: reading it back would lose
 * tables. */
Test(qcow2_snapshots, what_is_on_its_way_is_not_read_back)
{
	struct build_how how = built_how();
	struct staged staged = { 0 };
	struct write_rig rig;

	open_rig(&rig, file_of(&how));
	cr_assert(!has_table(&rig));
	write_rig_copy(&rig, 0, CLUSTER);
	cr_assert(has_table(&rig));
	reread(&rig, false);
	cr_assert(has_table(&rig), "a change that was not staged is lost");
	cr_assert_eq(table_cache_stage(rig.cache, rig.file, &staged), 0);
	cr_assert_eq(layer_stage(rig.layer, &staged), 0);
	reread(&rig, true);
	cr_assert(has_table(&rig), "a change that a commit writes is lost");
	staged_clear(&staged);
	/* No commit runs, and nothing is changed: the disk is the truth. */
	reread(&rig, false);
	cr_assert(!has_table(&rig));
	write_rig_drop(&rig);
}

/* What was read is older than a change that came meanwhile, durable or not. */
Test(qcow2_snapshots, what_changes_while_it_is_read_again_is_kept)
{
	struct build_how how = built_how();
	struct err err = { 0 };
	struct write_rig rig;
	void *state;

	open_rig(&rig, file_of(&how));
	cr_assert_eq(qcow2_snapshots_reread_begin(rig.layer, false, &state), 0);
	cr_assert_eq(qcow2_snapshots_reread(rig.layer, state, &err), 0, "%s", err.message);
	write_rig_copy(&rig, 0, CLUSTER);
	write_rig_settle(&rig);
	qcow2_snapshots_reread_end(rig.layer, state, true);
	cr_assert(has_table(&rig));
	write_rig_drop(&rig);
}
