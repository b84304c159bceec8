/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's writes to qcow2 images, one at a time: what each kind of cluster
 * is to a write, what becomes of it, and where the space it had goes. At the
 * end of each test the image is closed as the engine does and must check
 * without an error or a leak. Long random sequences: test_qcow2_write_random.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/refcount.h"
#include "tests/support/images/build_image.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/write_rig.h"

#define CLUSTER   4096u
#define N_GUEST   40u
#define BELOW_LEN (30u * CLUSTER + 700)

static uint8_t below[BELOW_LEN], bytes[N_GUEST * CLUSTER];

enum {
	AT_DATA = 1,
	AT_ZERO = 4,
	AT_ZERO_ALLOC = 6,
	AT_COMPRESSED = 8, /* and two more behind */
	AT_NOTHING = 20
};

static const struct build_cluster clusters[] = {
	{ AT_DATA, BUILD_DATA, 1 },
	{ AT_DATA + 1, BUILD_DATA, 2 },
	{ AT_ZERO, BUILD_ZERO_PLAIN, 3 },
	{ AT_ZERO_ALLOC, BUILD_ZERO_ALLOC, 4 },
	{ AT_COMPRESSED, BUILD_COMPRESSED, 5 },
	{ AT_COMPRESSED + 1, BUILD_COMPRESSED, 6 },
	{ AT_COMPRESSED + 2, BUILD_COMPRESSED, 7 },
};

static struct build_how plain_how(void)
{
	return (struct build_how){
		.cluster_bits = 12,
		.guest_len = N_GUEST * CLUSTER - 1024,
		.backing_name = "b",
		.backing_format = "raw",
		.clusters = clusters,
		.n_clusters = ARRAY_LEN(clusters),
	};
}

static void open_built(struct write_rig *rig, const struct build_how *how)
{
	build_fill(below, sizeof(below), 77);
	build_fill(bytes, sizeof(bytes), 78);
	write_rig_open(rig, write_image_built(how), NULL, below,
		       how->backing_name ? sizeof(below) : 0);
}

/* As the engine closes it; then it must be what it should be, on disk. */
static void close_well(struct write_rig *rig)
{
	struct file *file = rig->file, *data = rig->data;

	write_rig_assert_model(rig);
	write_rig_settle(rig);
	write_rig_assert_model(rig);
	write_image_assert_sound(file, data, 0, rig->below, rig->below_len, rig->model,
				 rig->layer->guest_len);
	write_rig_close(rig);
	file_close(file);
	if (data)
		file_close(data);
}

/* ---- what there is ---- */

Test(qcow2_write, each_kind_is_told_apart)
{
	struct build_how how = plain_how();
	struct write_extent e;
	struct write_rig rig;

	open_built(&rig, &how);
	e = write_rig_look(&rig, AT_DATA * CLUSTER + 5, CLUSTER);
	cr_assert_eq(e.kind, WRITE_IN_PLACE);
	cr_assert_eq(e.host_off, write_rig_map(&rig, AT_DATA * CLUSTER + 5, 1).host_off);
	e = write_rig_look(&rig, AT_ZERO * CLUSTER + 100, 200);
	cr_assert(e.kind == WRITE_NEW && e.reads_zero && !e.is_unallocated);
	e = write_rig_look(&rig, AT_ZERO_ALLOC * CLUSTER, CLUSTER);
	cr_assert(e.kind == WRITE_NEW && e.reads_zero && !e.is_unallocated);
	e = write_rig_look(&rig, AT_COMPRESSED * CLUSTER, CLUSTER);
	cr_assert(e.kind == WRITE_NEW && !e.reads_zero && !e.is_unallocated);
	cr_assert_eq(e.whole_len, CLUSTER);
	e = write_rig_look(&rig, AT_NOTHING * CLUSTER + 1, 3 * CLUSTER);
	cr_assert(e.kind == WRITE_NEW && !e.reads_zero && e.is_unallocated);
	cr_assert_geq(e.len, CLUSTER - 1);
	close_well(&rig);
}

/* A few bytes into each kind; around them everything stays. */
Test(qcow2_write, a_few_bytes_into_each_kind)
{
	for (unsigned bits = 4; bits <= 64; bits *= 2) {
		struct build_how how = plain_how();
		struct write_rig rig;

		how.refcount_bits = bits;
		open_built(&rig, &how);
		for (unsigned i = 0; i < N_GUEST; i++)
			write_rig_write(&rig, i * CLUSTER + 3 * i, bytes + i, 77);
		cr_assert_geq(rig.n_in_place, 2);
		cr_assert_geq(rig.n_in_space, 1, "a zero cluster's own space was not used");
		write_rig_write(&rig, 0, bytes, rig.layer->guest_len);
		close_well(&rig);
	}
}

/* Widths that can't count packed clusters. */
Test(qcow2_write, refcounts_of_1_and_2_bits_are_kept_under_writes)
{
	for (unsigned bits = 1; bits <= 2; bits *= 2) {
		struct build_how how = plain_how();
		struct write_rig rig;

		how.refcount_bits = bits;
		how.n_clusters = 4;
		open_built(&rig, &how);
		write_rig_write(&rig, 1000, bytes, 25 * CLUSTER);
		write_rig_zero(&rig, 3 * CLUSTER, 4 * CLUSTER, true);
		write_rig_zero(&rig, 10 * CLUSTER, 4 * CLUSTER, false);
		write_rig_write(&rig, 4 * CLUSTER + 9, bytes, 8 * CLUSTER);
		close_well(&rig);
	}
}

Test(qcow2_write, requests_go_over_tables)
{
	struct build_how how = { .cluster_bits = 9, .guest_len = 200 * 512 };
	struct write_rig rig;

	open_built(&rig, &how);
	write_rig_write(&rig, 60 * 512 + 17, bytes, 100 * 512);
	write_rig_zero(&rig, 50 * 512, 90 * 512 + 3, false);
	close_well(&rig);
}

/* ---- zeros ---- */

Test(qcow2_write, zeros_give_the_space_up_or_keep_it)
{
	struct build_how how = plain_how();
	uint64_t host_off, kept_off;
	struct write_rig rig;

	open_built(&rig, &how);
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
	write_rig_write(&rig, (AT_DATA + 1) * CLUSTER + 50, bytes, 7);
	cr_assert_eq(write_rig_map(&rig, (AT_DATA + 1) * CLUSTER, 1).host_off, kept_off);
	close_well(&rig);
}

/* What has been discarded must never read the backing file again. */
Test(qcow2_write, zeros_hide_what_is_below)
{
	struct build_how how = plain_how();
	struct write_rig rig;

	open_built(&rig, &how);
	write_rig_zero(&rig, 0, rig.layer->guest_len, false);
	for (unsigned i = 0; i < N_GUEST; i++)
		cr_assert_eq(write_rig_map(&rig, i * CLUSTER, 1).kind, EXTENT_ZERO);
	write_rig_copy(&rig, 0, rig.layer->guest_len);
	cr_assert_eq(rig.n_copied, 0);
	close_well(&rig);
}

Test(qcow2_write, version_2_has_no_zeros)
{
	static const struct build_cluster few[] = { { 1, BUILD_DATA, 1 },
						    { 2, BUILD_COMPRESSED, 2 } };
	struct mapping map = { .guest_off = CLUSTER, .len = CLUSTER, .is_zero = true };
	struct build_how how = plain_how();
	struct table_need need;
	struct write_rig rig;
	int rc;

	how.version = 2;
	how.clusters = few;
	how.n_clusters = ARRAY_LEN(few);
	open_built(&rig, &how);
	cr_assert(!rig.layer->has_zero_entries);
	while ((rc = layer_publish_write(rig.layer, &map, 1, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(rig.cache, &need), 0);
	cr_assert_eq(rc, -ENOTSUP);
	write_rig_zero(&rig, CLUSTER / 2, 9 * CLUSTER, false);
	cr_assert_eq(rig.n_zero_entries, 0);
	close_well(&rig);
}

/* ---- space let go ---- */

/* The host clusters of a compressed one are counted down once for each reference. */
Test(qcow2_write, compressed_clusters_share_host_clusters)
{
	struct build_how how = plain_how();
	struct extent first, last;
	struct write_rig rig;
	uint64_t refs;

	open_built(&rig, &how);
	first = write_rig_map(&rig, AT_COMPRESSED * CLUSTER, 1);
	last = write_rig_map(&rig, (AT_COMPRESSED + 2) * CLUSTER, 1);
	cr_assert_eq(first.host_off / CLUSTER, last.host_off / CLUSTER, "packed otherwise");
	refs = write_rig_refs(&rig, first.host_off);
	write_rig_write(&rig, (AT_COMPRESSED + 1) * CLUSTER + 5, bytes, 11);
	write_rig_settle(&rig);
	cr_assert_eq(write_rig_refs(&rig, first.host_off), refs - 1);
	write_rig_zero(&rig, AT_COMPRESSED * CLUSTER, CLUSTER, false);
	write_rig_write(&rig, (AT_COMPRESSED + 2) * CLUSTER, bytes, CLUSTER);
	write_rig_settle(&rig);
	cr_assert_eq(write_rig_refs(&rig, first.host_off), 0);
	close_well(&rig);
}

/* I5: counted until the new entry is durable, not used again until all is drained. */
Test(qcow2_write, space_is_used_again_only_when_nobody_needs_it)
{
	struct build_how how = plain_how();
	struct write_rig rig;
	uint64_t host_off;
	bool again = false;

	open_built(&rig, &how);
	rig.auto_drain = false;
	host_off = write_rig_map(&rig, AT_DATA * CLUSTER, 1).host_off;
	write_rig_zero(&rig, AT_DATA * CLUSTER, CLUSTER, false);
	cr_assert_eq(write_rig_refs(&rig, host_off), 1);
	write_rig_commit(&rig, false);
	cr_assert_eq(write_rig_refs(&rig, host_off), 1, "the entry is not durable yet");
	write_rig_commit(&rig, false);
	write_rig_drain(&rig); /* of the first, which had nothing yet */
	write_rig_commit(&rig, false);
	cr_assert_eq(write_rig_refs(&rig, host_off), 0);
	for (unsigned i = AT_NOTHING; i < AT_NOTHING + 8; i++) {
		write_rig_write(&rig, i * CLUSTER, bytes, CLUSTER);
		cr_assert_neq(write_rig_map(&rig, i * CLUSTER, 1).host_off, host_off,
			      "a reader may still be at it");
		write_rig_commit(&rig, true);
	}
	write_rig_drain(&rig);
	for (unsigned i = AT_NOTHING + 8; i < AT_NOTHING + 16; i++) {
		write_rig_write(&rig, i * CLUSTER, bytes, CLUSTER);
		again |= write_rig_map(&rig, i * CLUSTER, 1).host_off == host_off;
	}
	cr_assert(again);
	close_well(&rig);
}

/* A guest that writes and discards the same place for ever needs no more space than that. */
Test(qcow2_write, the_file_does_not_grow_for_ever)
{
	struct build_how how = plain_how();
	struct write_rig rig;
	uint64_t end;

	open_built(&rig, &how);
	end = rig.layer->alloc_end;
	for (unsigned i = 0; i < 400; i++) {
		write_rig_write(&rig, (i % 3) * CLUSTER, bytes + i, 2 * CLUSTER);
		write_rig_zero(&rig, 0, 5 * CLUSTER, false);
		write_rig_commit(&rig, i % 2);
	}
	cr_assert_leq(rig.layer->alloc_end, end + 60 * CLUSTER);
	close_well(&rig);
}

/* Nor does one that does so here and there: thousands of single clusters fall free. */
Test(qcow2_write, fragments_are_used_again)
{
	enum {
		N_CLUSTERS = 2000
	};
	struct build_how how = { .cluster_bits = 12, .guest_len = N_CLUSTERS * CLUSTER };
	struct write_rig rig;
	uint64_t end = 0;

	open_built(&rig, &how);
	rig_seed(3);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < N_CLUSTERS; i++)
			write_rig_write(&rig, (uint64_t)i * CLUSTER, bytes + i, 512);
		write_rig_settle(&rig);
		end = end ? end : rig.layer->alloc_end;
		cr_assert_leq(rig.layer->alloc_end, end, "round %u", round);
		for (unsigned i = 0; i < 500; i++)
			write_rig_zero(&rig, rig_roll(N_CLUSTERS) * CLUSTER, CLUSTER, false);
		write_rig_settle(&rig);
	}
	close_well(&rig);
}

/* A new table on space that held data must not let old bytes be entries: it is written whole. */
Test(qcow2_write, tables_on_space_used_before)
{
	uint64_t span = CLUSTER / 8 * CLUSTER;
	struct build_how how = { .cluster_bits = 12, .guest_len = 8 * span };
	struct write_rig rig;
	uint64_t used;

	open_built(&rig, &how);
	memset(bytes, 0x81, sizeof(bytes)); /* as entries they would point somewhere */
	write_rig_write(&rig, 0, bytes, sizeof(bytes));
	write_rig_settle(&rig);
	write_rig_zero(&rig, 0, sizeof(bytes), false);
	write_rig_settle(&rig);
	used = rig.layer->alloc_end;
	for (unsigned i = 1; i < 8; i++)
		write_rig_write(&rig, i * span + 200 * CLUSTER, bytes, 512);
	cr_assert_eq(rig.layer->alloc_end, used, "not on the space used before");
	close_well(&rig);
}

/* ---- internal snapshots ---- */

static void with_snapshots(unsigned n, unsigned refcount_bits)
{
	struct build_how how = plain_how();
	uint8_t *was[10];
	struct write_rig rig;
	uint64_t len;

	how.n_snapshots = n;
	how.refcount_bits = refcount_bits;
	open_built(&rig, &how);
	len = rig.layer->guest_len;
	for (unsigned i = 1; i <= n; i++) {
		was[i] = malloc(len);
		cr_assert_eq(write_rig_read_fresh(rig.file, NULL, i, below, BELOW_LEN, was[i], len),
			     0);
		cr_assert_arr_eq(was[i], rig.model, len);
	}
	cr_assert_eq(write_rig_look(&rig, AT_DATA * CLUSTER, 1).kind, WRITE_SHARED);
	for (unsigned i = 0; i < N_GUEST; i += 2)
		write_rig_write(&rig, i * CLUSTER + 100, bytes, CLUSTER / 2);
	write_rig_copy(&rig, 10 * CLUSTER, 15 * CLUSTER);
	write_rig_zero(&rig, 0, 9 * CLUSTER, true);
	write_rig_zero(&rig, 9 * CLUSTER, 3 * CLUSTER, false);
	cr_assert_geq(rig.n_unshared, 1);
	write_rig_settle(&rig);
	for (unsigned i = 1; i <= n; i++)
		write_image_assert_sound(rig.file, NULL, i, below, BELOW_LEN, was[i], len);
	write_rig_write(&rig, 0, bytes, len);
	write_rig_settle(&rig);
	for (unsigned i = 1; i <= n; i++) {
		write_image_assert_sound(rig.file, NULL, i, below, BELOW_LEN, was[i], len);
		free(was[i]);
	}
	close_well(&rig);
}

Test(qcow2_write, snapshots_keep_what_they_have)
{
	for (unsigned n = 1; n <= 4; n++)
		for (unsigned bits = 8; bits <= 64; bits *= 2)
			with_snapshots(n, bits);
}

/* All tables of the guest's disk come to be its own, and the old ones the snapshot's alone. */
Test(qcow2_write, shared_tables_are_unshared_once)
{
	static const struct build_cluster spread[] = {
		{ 1, BUILD_DATA, 1 },         { 70, BUILD_DATA, 2 },
		{ 130, BUILD_DATA, 3 },       { 131, BUILD_ZERO_PLAIN, 4 },
		{ 200, BUILD_COMPRESSED, 5 }, { 260, BUILD_ZERO_ALLOC, 6 },
	};
	struct build_how how = {
		.cluster_bits = 9,
		.guest_len = 300 * 512,
		.clusters = spread,
		.n_clusters = ARRAY_LEN(spread),
		.n_snapshots = 1,
	};
	uint8_t *was = malloc(how.guest_len);
	struct write_rig rig;

	open_built(&rig, &how);
	memcpy(was, rig.model, how.guest_len);
	for (unsigned i = 0; i < 300; i += 5)
		write_rig_write(&rig, i * 512, bytes + i, 100);
	cr_assert_leq(rig.n_unshared, 5, "%u", rig.n_unshared);
	write_rig_settle(&rig);
	write_image_assert_sound(rig.file, NULL, 1, NULL, 0, was, how.guest_len);
	free(was);
	close_well(&rig);
}

/* A cache that has no room for the shared table and its copy together: the space is taken once. */
Test(qcow2_write, a_large_table_is_unshared_in_a_small_cache)
{
	static const struct build_cluster one[] = { { 1, BUILD_DATA, 1 } };
	const uint64_t cluster_len = 128 * KiB;
	struct build_how how = {
		.cluster_bits = 17,
		.guest_len = 3 * cluster_len,
		.clusters = one,
		.n_clusters = 1,
		.n_snapshots = 1,
	};

	for (uint64_t budget = 64 * KiB; budget <= 320 * KiB; budget += 64 * KiB) {
		uint8_t *was = malloc(how.guest_len);
		struct write_rig rig;
		uint64_t file_len;

		open_built(&rig, &how);
		table_cache_set_budget(rig.cache, budget);
		memcpy(was, rig.model, how.guest_len);
		file_len = rig.file->len;
		write_rig_write(&rig, cluster_len, bytes, 100);
		cr_assert_eq(rig.n_unshared, 1);
		write_rig_settle(&rig);
		cr_assert_leq(rig.file->len, file_len + 3 * cluster_len, "with %" PRIu64 " bytes",
			      budget);
		write_image_assert_sound(rig.file, NULL, 1, NULL, 0, was, how.guest_len);
		free(was);
		close_well(&rig);
	}
}

/* ---- subclusters ---- */

Test(qcow2_write, subclusters_are_units_of_their_own)
{
	uint32_t cluster_len = 16 * KiB, granule_len = 512;
	struct write_extent e;
	struct write_rig rig;

	build_fill(below, sizeof(below), 77);
	build_fill(bytes, sizeof(bytes), 78);
	write_rig_open(&rig, write_image_extended(16 * cluster_len - 512, 16), NULL, below,
		       sizeof(below));
	cr_assert_eq(rig.layer->granule_len, granule_len);
	write_rig_write(&rig, 5 * granule_len + 3, bytes, 20); /* one granule of cluster 0 */
	cr_assert_eq(write_rig_look(&rig, 5 * granule_len, 1).kind, WRITE_IN_PLACE);
	e = write_rig_look(&rig, 6 * granule_len, cluster_len);
	cr_assert(e.kind == WRITE_NEW && e.is_unallocated && e.whole_len == granule_len);
	write_rig_write(&rig, 9 * granule_len, bytes, 3 * granule_len);
	cr_assert_eq(rig.n_in_space, 1, "into the space of the cluster that is there");
	write_rig_zero(&rig, 10 * granule_len, 2 * granule_len, false);
	e = write_rig_look(&rig, 10 * granule_len, cluster_len);
	cr_assert(e.kind == WRITE_NEW && e.reads_zero);
	write_rig_copy(&rig, 0, cluster_len);
	write_rig_write(&rig, cluster_len - 7, bytes, 2 * cluster_len);
	write_rig_zero(&rig, cluster_len + 100, 2 * cluster_len, false);
	write_rig_zero(&rig, 0, cluster_len, false); /* all of one: its space goes */
	close_well(&rig);
}

/* ---- data files ---- */

Test(qcow2_write, a_write_goes_to_the_data_file_at_its_guest_offset)
{
	for (unsigned extended = 0; extended < 2; extended++) {
		uint64_t guest_len = 20 * 16 * KiB - 1024;
		struct write_rig rig;

		build_fill(below, sizeof(below), 77);
		build_fill(bytes, sizeof(bytes), 78);
		write_rig_open(&rig, write_image_external(guest_len, extended),
			       mem_file_new("data", guest_len), below, sizeof(below));
		memset(mem_file_inode(rig.data)->bytes, 0x99, guest_len); /* old bytes */
		write_rig_write(&rig, 5, bytes, 30000);
		cr_assert_eq(write_rig_map(&rig, 16 * KiB, 1).host_off, 16 * KiB);
		write_rig_copy(&rig, 20 * KiB, 50 * KiB);
		cr_assert_eq(write_rig_look(&rig, 40 * KiB, 1).kind, WRITE_IN_PLACE);
		write_rig_zero(&rig, 1000, 60 * KiB, false);
		write_rig_zero(&rig, 70 * KiB, 60 * KiB, true);
		write_rig_write(&rig, 17 * KiB, bytes, 80 * KiB);
		write_rig_write(&rig, guest_len - 3000, bytes, 3000);
		cr_assert_leq(rig.data->len, round_up(guest_len, 512));
		close_well(&rig);
	}
}
