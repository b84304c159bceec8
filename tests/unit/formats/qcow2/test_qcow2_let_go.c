/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's writes to qcow2 images: where the space of what they replace goes, and what internal
 * snapshots keep of it.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/rigs/write_rig.h"
#include "tests/unit/formats/qcow2/built_rig.h"

/* ---- space let go ---- */

/* The host clusters of a compressed one are counted down once for each reference. */
Test(qcow2_write, compressed_clusters_share_host_clusters)
{
	struct build_how how = built_plain_how();
	struct extent first, last;
	struct write_rig rig;
	uint64_t refs;

	built_open_built(&rig, &how);
	first = write_rig_map(&rig, AT_COMPRESSED * CLUSTER, 1);
	last = write_rig_map(&rig, (AT_COMPRESSED + 2) * CLUSTER, 1);
	cr_assert_eq(first.host_off / CLUSTER, last.host_off / CLUSTER, "packed otherwise");
	refs = write_rig_refs(&rig, first.host_off);
	write_rig_write(&rig, (AT_COMPRESSED + 1) * CLUSTER + 5, built_bytes, 11);
	write_rig_settle(&rig);
	cr_assert_eq(write_rig_refs(&rig, first.host_off), refs - 1);
	write_rig_zero(&rig, AT_COMPRESSED * CLUSTER, CLUSTER, false);
	write_rig_write(&rig, (AT_COMPRESSED + 2) * CLUSTER, built_bytes, CLUSTER);
	write_rig_settle(&rig);
	cr_assert_eq(write_rig_refs(&rig, first.host_off), 0);
	built_close_well(&rig);
}

/* I5: counted until the new entry is durable, not used again until all is drained. */
Test(qcow2_write, space_is_used_again_only_when_nobody_needs_it)
{
	struct build_how how = built_plain_how();
	struct write_rig rig;
	uint64_t host_off;
	bool again = false;

	built_open_built(&rig, &how);
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
		write_rig_write(&rig, i * CLUSTER, built_bytes, CLUSTER);
		cr_assert_neq(write_rig_map(&rig, i * CLUSTER, 1).host_off, host_off,
			      "a reader may still be at it");
		write_rig_commit(&rig, true);
	}
	write_rig_drain(&rig);
	for (unsigned i = AT_NOTHING + 8; i < AT_NOTHING + 16; i++) {
		write_rig_write(&rig, i * CLUSTER, built_bytes, CLUSTER);
		again |= write_rig_map(&rig, i * CLUSTER, 1).host_off == host_off;
	}
	cr_assert(again);
	built_close_well(&rig);
}

/* A guest that writes and discards the same place for ever needs no more space than that. */
Test(qcow2_write, the_file_does_not_grow_for_ever)
{
	struct build_how how = built_plain_how();
	struct write_rig rig;
	uint64_t end;

	built_open_built(&rig, &how);
	end = rig.layer->alloc_end;
	for (unsigned i = 0; i < 400; i++) {
		write_rig_write(&rig, (i % 3) * CLUSTER, built_bytes + i, 2 * CLUSTER);
		write_rig_zero(&rig, 0, 5 * CLUSTER, false);
		write_rig_commit(&rig, i % 2);
	}
	cr_assert_leq(rig.layer->alloc_end, end + 60 * CLUSTER);
	built_close_well(&rig);
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

	built_open_built(&rig, &how);
	rig_seed(3);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < N_CLUSTERS; i++)
			write_rig_write(&rig, (uint64_t)i * CLUSTER, built_bytes + i, 512);
		write_rig_settle(&rig);
		end = end ? end : rig.layer->alloc_end;
		cr_assert_leq(rig.layer->alloc_end, end, "round %u", round);
		for (unsigned i = 0; i < 500; i++)
			write_rig_zero(&rig, rig_roll(N_CLUSTERS) * CLUSTER, CLUSTER, false);
		write_rig_settle(&rig);
	}
	built_close_well(&rig);
}

/* A new table on space that held data must not let old bytes be entries: it is written whole. */
Test(qcow2_write, tables_on_used_space_are_written_whole)
{
	uint64_t span = CLUSTER / 8 * CLUSTER;
	struct build_how how = { .cluster_bits = 12, .guest_len = 8 * span };
	struct write_rig rig;
	uint64_t used;

	built_open_built(&rig, &how);
	memset(built_bytes, 0x81, sizeof(built_bytes)); /* as entries they would point somewhere */
	write_rig_write(&rig, 0, built_bytes, sizeof(built_bytes));
	write_rig_settle(&rig);
	write_rig_zero(&rig, 0, sizeof(built_bytes), false);
	write_rig_settle(&rig);
	used = rig.layer->alloc_end;
	for (unsigned i = 1; i < 8; i++)
		write_rig_write(&rig, i * span + 200 * CLUSTER, built_bytes, 512);
	cr_assert_eq(rig.layer->alloc_end, used, "not on the space used before");
	built_close_well(&rig);
}

/* ---- internal snapshots ---- */

static void with_snapshots(unsigned n, unsigned refcount_bits)
{
	struct build_how how = built_plain_how();
	uint8_t *was[10];
	struct write_rig rig;
	uint64_t len;

	how.n_snapshots = n;
	how.refcount_bits = refcount_bits;
	built_open_built(&rig, &how);
	len = rig.layer->guest_len;
	for (unsigned i = 1; i <= n; i++) {
		was[i] = malloc(len);
		cr_assert_eq(write_rig_read_fresh(rig.file, NULL, i, built_below, BELOW_LEN, was[i],
						  len),
			     0);
		cr_assert_arr_eq(was[i], rig.model, len);
	}
	cr_assert_eq(write_rig_look(&rig, AT_DATA * CLUSTER, 1).kind, WRITE_SHARED);
	for (unsigned i = 0; i < N_GUEST; i += 2)
		write_rig_write(&rig, i * CLUSTER + 100, built_bytes, CLUSTER / 2);
	write_rig_copy(&rig, 10 * CLUSTER, 15 * CLUSTER);
	write_rig_zero(&rig, 0, 9 * CLUSTER, true);
	write_rig_zero(&rig, 9 * CLUSTER, 3 * CLUSTER, false);
	cr_assert_geq(rig.n_unshared, 1);
	write_rig_settle(&rig);
	for (unsigned i = 1; i <= n; i++)
		write_image_assert_sound(rig.file, NULL, i, built_below, BELOW_LEN, was[i], len);
	write_rig_write(&rig, 0, built_bytes, len);
	write_rig_settle(&rig);
	for (unsigned i = 1; i <= n; i++) {
		write_image_assert_sound(rig.file, NULL, i, built_below, BELOW_LEN, was[i], len);
		free(was[i]);
	}
	built_close_well(&rig);
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

	built_open_built(&rig, &how);
	memcpy(was, rig.model, how.guest_len);
	for (unsigned i = 0; i < 300; i += 5)
		write_rig_write(&rig, i * 512, built_bytes + i, 100);
	cr_assert_leq(rig.n_unshared, 5, "%u", rig.n_unshared);
	write_rig_settle(&rig);
	write_image_assert_sound(rig.file, NULL, 1, NULL, 0, was, how.guest_len);
	free(was);
	built_close_well(&rig);
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

		built_open_built(&rig, &how);
		table_cache_set_budget(rig.cache, budget);
		memcpy(was, rig.model, how.guest_len);
		file_len = rig.file->len;
		write_rig_write(&rig, cluster_len, built_bytes, 100);
		cr_assert_eq(rig.n_unshared, 1);
		write_rig_settle(&rig);
		cr_assert_leq(rig.file->len, file_len + 3 * cluster_len, "with %" PRIu64 " bytes",
			      budget);
		write_image_assert_sound(rig.file, NULL, 1, NULL, 0, was, how.guest_len);
		free(was);
		built_close_well(&rig);
	}
}
