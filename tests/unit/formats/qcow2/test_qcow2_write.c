/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's writes to qcow2 images, one at a time: what each kind of cluster
 * is to a write, what becomes of it, and where the space it had goes. At the
 * end of each test the image is closed as the engine does and must check
 * without an error or a leak. Long random sequences: test_qcow2_write_random.c.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/refcount.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/rigs/write_rig.h"
#include "tests/unit/formats/qcow2/built_rig.h"

/* ---- what there is ---- */

Test(qcow2_write, each_kind_is_told_apart)
{
	struct build_how how = built_plain_how();
	struct write_extent e;
	struct write_rig rig;

	built_open_built(&rig, &how);
	e = write_rig_look(&rig, AT_DATA * CLUSTER + 5, CLUSTER);
	cr_assert_eq(e.kind, WRITE_IN_PLACE);
	cr_assert_eq(e.host_off, write_rig_map(&rig, AT_DATA * CLUSTER + 5, 1).host_off);
	e = write_rig_look(&rig, AT_ZERO * CLUSTER + 100, 200);
	cr_assert(e.kind == WRITE_NEW && e.reads_zero && !e.is_unallocated);
	e = write_rig_look(&rig, AT_ZERO_ALLOC * CLUSTER, CLUSTER);
	cr_assert(e.kind == WRITE_NEW && e.reads_zero && !e.is_unallocated);
	e = write_rig_look(&rig, AT_COMPRESSED * CLUSTER, CLUSTER);
	cr_assert(e.kind == WRITE_NEW && !e.reads_zero && !e.is_unallocated);
	cr_assert_eq(e.unit_len, CLUSTER);
	e = write_rig_look(&rig, AT_NOTHING * CLUSTER + 1, 3 * CLUSTER);
	cr_assert(e.kind == WRITE_NEW && !e.reads_zero && e.is_unallocated);
	cr_assert_geq(e.len, CLUSTER - 1);
	built_close_well(&rig);
}

/* A few bytes into each kind; around them everything stays. */
Test(qcow2_write, a_few_bytes_into_each_kind)
{
	for (unsigned bits = 4; bits <= 64; bits *= 2) {
		struct build_how how = built_plain_how();
		struct write_rig rig;

		how.refcount_bits = bits;
		built_open_built(&rig, &how);
		for (unsigned i = 0; i < N_GUEST; i++)
			write_rig_write(&rig, i * CLUSTER + 3 * i, built_bytes + i, 77);
		cr_assert_geq(rig.n_in_place, 2);
		cr_assert_geq(rig.n_in_space, 1, "a zero cluster's own space was not used");
		write_rig_write(&rig, 0, built_bytes, rig.layer->guest_len);
		built_close_well(&rig);
	}
}

/* Widths that can't count packed clusters. */
Test(qcow2_write, refcounts_of_1_and_2_bits_are_kept_under_writes)
{
	for (unsigned bits = 1; bits <= 2; bits *= 2) {
		struct build_how how = built_plain_how();
		struct write_rig rig;

		how.refcount_bits = bits;
		how.n_clusters = 4;
		built_open_built(&rig, &how);
		write_rig_write(&rig, 1000, built_bytes, 25 * CLUSTER);
		write_rig_zero(&rig, 3 * CLUSTER, 4 * CLUSTER, true);
		write_rig_zero(&rig, 10 * CLUSTER, 4 * CLUSTER, false);
		write_rig_write(&rig, 4 * CLUSTER + 9, built_bytes, 8 * CLUSTER);
		built_close_well(&rig);
	}
}

Test(qcow2_write, requests_go_over_tables)
{
	struct build_how how = { .cluster_bits = 9, .guest_len = 200 * 512 };
	struct write_rig rig;

	built_open_built(&rig, &how);
	write_rig_write(&rig, 60 * 512 + 17, built_bytes, 100 * 512);
	write_rig_zero(&rig, 50 * 512, 90 * 512 + 3, false);
	built_close_well(&rig);
}

/* ---- zeros ---- */

Test(qcow2_write, zeros_give_the_space_up_or_keep_it)
{
	struct build_how how = built_plain_how();
	uint64_t host_off, kept_off;
	struct write_rig rig;

	built_open_built(&rig, &how);
	host_off = write_rig_map(&rig, AT_DATA * CLUSTER, 1).host_off;
	kept_off = write_rig_map(&rig, (AT_DATA + 1) * CLUSTER, 1).host_off;
	write_rig_zero(&rig, AT_DATA * CLUSTER, CLUSTER, false);
	write_rig_zero(&rig, (AT_DATA + 1) * CLUSTER, CLUSTER, true);
	cr_assert_eq(write_rig_map(&rig, AT_DATA * CLUSTER, 1).kind, EXTENT_ZERO);
	cr_assert(!write_rig_map(&rig, AT_DATA * CLUSTER, 1).has_host);
	cr_assert_eq(write_rig_map(&rig, (AT_DATA + 1) * CLUSTER, 1).host_off, kept_off);
	write_rig_settle(&rig);
	cr_assert_eq(write_rig_refs(&rig, host_off), 0);
	cr_assert_eq(write_rig_refs(&rig, kept_off), 1);
	/* What it kept it is written to again. */
	write_rig_write(&rig, (AT_DATA + 1) * CLUSTER + 50, built_bytes, 7);
	cr_assert_eq(write_rig_map(&rig, (AT_DATA + 1) * CLUSTER, 1).host_off, kept_off);
	built_close_well(&rig);
}

/* What has been discarded must never read the backing file again. */
Test(qcow2_write, zeros_hide_what_is_below)
{
	struct build_how how = built_plain_how();
	struct write_rig rig;

	built_open_built(&rig, &how);
	write_rig_zero(&rig, 0, rig.layer->guest_len, false);
	for (unsigned i = 0; i < N_GUEST; i++)
		cr_assert_eq(write_rig_map(&rig, i * CLUSTER, 1).kind, EXTENT_ZERO);
	write_rig_copy(&rig, 0, rig.layer->guest_len);
	cr_assert_eq(rig.n_copied, 0);
	built_close_well(&rig);
}

Test(qcow2_write, version_2_has_no_zeros)
{
	static const struct build_cluster few[] = { { 1, BUILD_DATA, 1 },
						    { 2, BUILD_COMPRESSED, 2 } };
	struct mapping map = { .guest_off = CLUSTER, .len = CLUSTER, .is_zero = true };
	struct build_how how = built_plain_how();
	struct table_need need;
	struct write_rig rig;
	int rc;

	how.version = 2;
	how.clusters = few;
	how.n_clusters = ARRAY_LEN(few);
	built_open_built(&rig, &how);
	cr_assert(!rig.layer->has_zero_entries);
	while ((rc = layer_publish_write(rig.layer, &map, 1, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(rig.cache, &need), 0);
	cr_assert_eq(rc, -ENOTSUP);
	write_rig_zero(&rig, CLUSTER / 2, 9 * CLUSTER, false);
	cr_assert_eq(rig.n_zero_entries, 0);
	built_close_well(&rig);
}

/* ---- subclusters ---- */

Test(qcow2_write, subclusters_are_units_of_their_own)
{
	uint32_t cluster_len = 16 * KiB, granule_len = 512;
	struct write_extent e;
	struct write_rig rig;

	build_fill(built_below, sizeof(built_below), 77);
	build_fill(built_bytes, sizeof(built_bytes), 78);
	write_rig_open(&rig, write_image_extended(16 * cluster_len - 512, 16), NULL, built_below,
		       sizeof(built_below));
	cr_assert_eq(rig.layer->granule_len, granule_len);
	write_rig_write(&rig, 5 * granule_len + 3, built_bytes, 20); /* one granule of cluster 0 */
	cr_assert_eq(write_rig_look(&rig, 5 * granule_len, 1).kind, WRITE_IN_PLACE);
	e = write_rig_look(&rig, 6 * granule_len, cluster_len);
	cr_assert(e.kind == WRITE_NEW && e.is_unallocated && e.unit_len == granule_len);
	write_rig_write(&rig, 9 * granule_len, built_bytes, 3 * granule_len);
	cr_assert_eq(rig.n_in_space, 1, "into the space of the cluster that is there");
	write_rig_zero(&rig, 10 * granule_len, 2 * granule_len, false);
	e = write_rig_look(&rig, 10 * granule_len, cluster_len);
	cr_assert(e.kind == WRITE_NEW && e.reads_zero);
	write_rig_copy(&rig, 0, cluster_len);
	write_rig_write(&rig, cluster_len - 7, built_bytes, 2 * cluster_len);
	write_rig_zero(&rig, cluster_len + 100, 2 * cluster_len, false);
	write_rig_zero(&rig, 0, cluster_len, false); /* all of one: its space goes */
	built_close_well(&rig);
}

/* ---- data files ---- */

Test(qcow2_write, a_write_goes_to_the_data_file_at_its_guest_offset)
{
	for (unsigned extended = 0; extended < 2; extended++) {
		uint64_t guest_len = 20 * 16 * KiB - 1024;
		struct write_rig rig;

		build_fill(built_below, sizeof(built_below), 77);
		build_fill(built_bytes, sizeof(built_bytes), 78);
		write_rig_open(&rig, write_image_external(guest_len, extended),
			       mem_file_new("data", guest_len), built_below, sizeof(built_below));
		memset(mem_file_inode(rig.data)->bytes, 0x99, guest_len); /* old bytes */
		write_rig_write(&rig, 5, built_bytes, 30000);
		cr_assert_eq(write_rig_map(&rig, 16 * KiB, 1).host_off, 16 * KiB);
		write_rig_copy(&rig, 20 * KiB, 50 * KiB);
		cr_assert_eq(write_rig_look(&rig, 40 * KiB, 1).kind, WRITE_IN_PLACE);
		write_rig_zero(&rig, 1000, 60 * KiB, false);
		write_rig_zero(&rig, 70 * KiB, 60 * KiB, true);
		write_rig_write(&rig, 17 * KiB, built_bytes, 80 * KiB);
		write_rig_write(&rig, guest_len - 3000, built_bytes, 3000);
		cr_assert_leq(rig.data->len, round_up(guest_len, 512));
		built_close_well(&rig);
	}
}
