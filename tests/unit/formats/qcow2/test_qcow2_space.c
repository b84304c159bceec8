/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a qcow2 file's space begins and ends: runs of clusters, slices without
 * entries, refcount blocks and tables at the end of the file, and devices that
 * are used to their last cluster.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/staged.h"
#include "formats/core/table_dirty.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/open.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/reftable.h"
#include "formats/qcow2/space/space.h"
#include "formats/qcow2/tables/empty.h"
#include "formats/qcow2/write/stage.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/write_rig.h"

#define CLUSTER 512u
#define SPAN    (64u * CLUSTER) /* guest bytes of an L2 table, which is one slice */

static struct build_how built_how(void)
{
	return (struct build_how){ .cluster_bits = 9, .guest_len = 4 * SPAN };
}

static struct file *built(const struct build_how *how, uint64_t *reftable_off,
			  uint64_t *refblock_off)
{
	struct build_image image = build_image(how);
	struct file *file = mem_file_new("img", image.len);

	memcpy(mem_file_inode(file)->bytes, image.bytes, image.len);
	*reftable_off = image.reftable_off;
	*refblock_off = image.refblock_off;
	build_image_free(&image);
	return file;
}

static void close_sound(struct write_rig *rig)
{
	struct file *file = rig->file;
	uint64_t n_leaks;
	char why[256];

	write_rig_settle(rig);
	write_rig_close(rig);
	cr_assert_eq(write_rig_check(file, &n_leaks, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(n_leaks, 0, "%s", why);
	file_close(file);
}

/* ---- runs ---- */

static int map(struct layer *layer, uint64_t guest_idx, uint64_t n, uint64_t *n_got)
{
	struct extent e = { 0 };
	int rc = layer_map_now(layer, guest_idx * CLUSTER, n * CLUSTER, &e);

	*n_got = rc ? 0 : e.len / CLUSTER;
	cr_assert(rc || e.kind == EXTENT_DATA);
	return rc;
}

static void put_run(struct build_image *image, uint64_t guest_idx, uint64_t host_off)
{
	for (uint64_t i = 0; i < 4; i++)
		build_put64(image, build_l2_entry_off(image, guest_idx + i),
			    (host_off + i * CLUSTER) | UINT64_C(1) << 63);
}

/* Clusters that the file does not have are lost data: an error, and no zeros at the end of a
 * run. */
Test(qcow2_space, a_run_ends_where_the_file_does)
{
	static const struct build_cluster cluster = { 0, BUILD_DATA, 1 };
	struct build_how how = built_how();
	struct build_image image;
	struct table_cache *cache = table_cache_new(MiB);
	struct file *file;
	struct layer *layer;
	uint64_t n;

	how.clusters = &cluster;
	how.n_clusters = 1;
	image = build_image(&how);
	put_run(&image, 10, image.len - 2 * CLUSTER);
	file = mem_file_new("img", image.len - 100); /* inside its last cluster */
	memcpy(mem_file_inode(file)->bytes, image.bytes, file->len);
	cr_assert_eq(qcow2_open(file, cache, &layer, NULL), 0);
	cr_assert_eq(map(layer, 10, 4, &n), 0);
	cr_assert_eq(n, 2, "%" PRIu64, n);
	cr_assert_eq(map(layer, 11, 4, &n), 0);
	cr_assert_eq(n, 1, "%" PRIu64, n);
	cr_assert_eq(map(layer, 12, 1, &n), -EUCLEAN);
	table_cache_forget(cache, file);
	layer_close(layer);
	file_close(file);
	table_cache_free(cache);
	build_image_free(&image);
}

Test(qcow2_space, a_run_ends_where_the_data_file_does)
{
	static const struct build_cluster cluster = { 0, BUILD_UNALLOCATED, 1 };
	static const struct build_ext name = { 0x44415441, "data", 4 };
	struct build_how how = built_how();
	struct table_cache *cache = table_cache_new(MiB);
	struct file *file, *data = mem_file_new("data", 2 * CLUSTER + 100);
	struct build_image image;
	struct layer *layer;
	uint64_t n;

	how.clusters = &cluster;
	how.n_clusters = 1;
	how.exts = &name;
	how.n_exts = 1;
	how.incompat = QCOW2_INCOMPAT_DATA_FILE;
	image = build_image(&how);
	put_run(&image, 0, 0);
	file = mem_file_new("img", image.len);
	memcpy(mem_file_inode(file)->bytes, image.bytes, image.len);
	cr_assert_eq(qcow2_open(file, cache, &layer, NULL), 0);
	layer->data = data;
	cr_assert_eq(map(layer, 0, 4, &n), 0);
	cr_assert_eq(n, 3, "%" PRIu64, n);
	cr_assert_eq(map(layer, 3, 1, &n), -EUCLEAN);
	table_cache_forget(cache, file);
	layer_close(layer);
	file_close(file);
	file_close(data);
	table_cache_free(cache);
	build_image_free(&image);
}

/* ---- slices without entries ---- */

Test(qcow2_space, only_whole_slices_are_known_empty)
{
	static const struct build_cluster cluster = { 40, BUILD_DATA, 1 };
	struct build_how how = built_how();
	struct write_rig rig;
	struct extent e;
	struct qcow2 *q;

	how.clusters = &cluster;
	how.n_clusters = 1;
	write_rig_open(&rig, write_image_built(&how), NULL, NULL, 0);
	q = qcow2_of(rig.layer);
	cr_assert_eq(qcow2_l2_slice_span(q), SPAN);
	for (uint64_t len = CLUSTER; len <= 40 * CLUSTER; len += CLUSTER) {
		e = write_rig_map(&rig, 0, len);
		cr_assert(e.kind == EXTENT_UNALLOCATED && e.len == len);
		cr_assert(!qcow2_is_known_empty(q, 0), "%" PRIu64 " bytes were looked at", len);
	}
	qcow2_note_empty(q, SPAN, SPAN / 2);
	cr_assert(!qcow2_is_known_empty(q, SPAN));
	qcow2_note_empty(q, SPAN, SPAN + SPAN / 2);
	cr_assert(qcow2_is_known_empty(q, SPAN) && !qcow2_is_known_empty(q, 2 * SPAN));
	cr_assert_eq(qcow2_known_empty_len(q, SPAN + 7, 4 * SPAN), SPAN - 7);
	cr_assert_eq(write_rig_map(&rig, 40 * CLUSTER, 1).kind, EXTENT_DATA);
	close_sound(&rig);
}

/* ---- the end of the file ---- */

/* A cut has left counts behind the end of the file. As it grows they would be leaks, or, with
 * compressed clusters, references too many. */
Test(qcow2_space, counts_behind_the_end_are_forgotten)
{
	struct build_how how = built_how();
	uint64_t reftable_off, refblock_off, block_off, end_idx;
	struct file *file = built(&how, &reftable_off, &refblock_off);
	struct write_rig rig;
	uint8_t *bytes;

	block_off = file->len;
	cr_assert_eq(file_truncate(file, block_off + CLUSTER), 0);
	bytes = mem_file_inode(file)->bytes;
	end_idx = file->len / CLUSTER;
	put_be64(bytes + reftable_off + 8, block_off);
	put_be16(bytes + refblock_off + 2 * (end_idx - 1), 1);
	put_be16(bytes + refblock_off + 2 * end_idx, 1);
	put_be16(bytes + refblock_off + 2 * 255, 3);
	put_be16(bytes + block_off, 1);
	put_be16(bytes + block_off + 2 * 255, 1);
	write_rig_open(&rig, file, NULL, NULL, 0);
	bytes = mem_file_inode(file)->bytes;
	for (uint64_t idx = 0; idx < 256; idx++) {
		cr_assert_eq(be16(bytes + refblock_off + 2 * idx), idx < end_idx, "%" PRIu64, idx);
		cr_assert_eq(be16(bytes + block_off + 2 * idx), 0, "%" PRIu64, 256 + idx);
	}
	close_sound(&rig);
}

/* A refcount block is written in part where the file reads zeros, but never ends in the middle. */
Test(qcow2_space, a_new_block_is_all_in_the_file)
{
	for (unsigned bits = 9; bits <= 14; bits++) {
		struct build_how how = built_how();
		struct write_rig rig;
		struct qcow2 *q;
		uint64_t host_off, got;

		how.cluster_bits = bits;
		how.refcount_bits = 64; /* the blocks are near each other */
		write_rig_open(&rig, write_image_built(&how), NULL, NULL, 0);
		q = qcow2_of(rig.layer);
		while (!qcow2_block_off(q, 1))
			cr_assert_eq(qcow2_reserve(rig.layer, UINT64_C(1) << 40, &host_off, &got),
				     0);
		cr_assert_lt(rig.file->len, qcow2_block_off(q, 1));
		write_rig_commit(&rig, true);
		cr_assert_eq(rig.file->len, qcow2_block_off(q, 1) + rig.layer->cluster_len,
			     "clusters of %u bytes", 1u << bits);
		close_sound(&rig);
	}
}

/* ---- larger refcount tables ---- */

/* A table that has no room for the end of the file's neighbours: 64 counts a block. */
static void open_full_table(struct write_rig *rig)
{
	struct build_how how = built_how();

	how.refcount_bits = 64;
	how.n_clusters_left = 10;
	write_rig_open(rig, write_image_built(&how), NULL, NULL, 0);
}

/* Takes space, which is given to nothing, until there is a larger table. */
static void grow_table(struct write_rig *rig)
{
	struct qcow2 *q = qcow2_of(rig->layer);
	uint64_t was = q->hdr.reftable_off, host_off, got;

	while (q->hdr.reftable_off == was)
		cr_assert_eq(qcow2_reserve(rig->layer, 64 * CLUSTER, &host_off, &got), 0);
}

/* No commit was between them: the first one never was on disk. */
Test(qcow2_space, a_table_in_between_is_no_leak)
{
	struct write_rig rig;
	uint64_t first_off;

	open_full_table(&rig);
	grow_table(&rig);
	first_off = qcow2_of(rig.layer)->hdr.reftable_off;
	cr_assert_eq(write_rig_refs(&rig, first_off), 1);
	grow_table(&rig);
	write_rig_commit(&rig, true);
	cr_assert_eq(write_rig_refs(&rig, first_off), 0);
	close_sound(&rig);
}

static void write_all(struct staged *staged)
{
	for (enum stage stage = 0; stage < N_STAGES; stage++)
		for (struct staged_write *w = staged->head[stage], *next; w; w = next) {
			next = w->next;
			cr_assert_eq(file_write(w->file, w->bytes, w->len, w->host_off), 0);
			staged_write_done(w);
		}
}

/* An operation is loading the block that counts it: it is let go behind a later commit. */
Test(qcow2_space, a_replaced_table_is_let_go_later_where_its_block_is_busy)
{
	struct staged staged = { 0 };
	struct table_need need;
	struct write_rig rig;
	struct table *block;
	uint64_t old_off;
	struct qcow2 *q;

	open_full_table(&rig);
	q = qcow2_of(rig.layer);
	old_off = q->hdr.reftable_off;
	grow_table(&rig);
	cr_assert_eq(table_cache_stage(rig.cache, rig.file, &staged), 0);
	cr_assert_eq(qcow2_stage(rig.layer, &staged), 0);
	write_all(&staged);
	table_cache_drop_clean(rig.cache, rig.file);
	qcow2_reftable_durable(rig.layer);
	cr_assert(qcow2_has_freed(rig.layer));
	cr_assert_eq(qcow2_free_unreferenced(rig.layer, false, &need), TABLE_NEED);
	block = table_load_begin(rig.cache, &need);
	cr_assert_eq(qcow2_free_unreferenced(rig.layer, false, &need), TABLE_NEED);
	cr_assert_eq(file_read_padded(rig.file, block->bytes, block->len, block->host_off), 0);
	table_load_end(rig.cache, block, 0);
	cr_assert_eq(write_rig_refs(&rig, old_off), 1);
	cr_assert_eq(qcow2_free_unreferenced(rig.layer, false, &need), 0);
	cr_assert_eq(write_rig_refs(&rig, old_off), 0);
	close_sound(&rig);
}

/* ---- devices ---- */

/* On a device with n clusters behind the image. */
static void open_device(struct write_rig *rig, unsigned n)
{
	struct build_how how = built_how();
	struct file *file = write_image_built(&how);

	cr_assert_eq(file_truncate(file, file->len + n * CLUSTER), 0);
	mem_file_inode(file)->is_block = file->is_block = true;
	write_rig_open(rig, file, NULL, NULL, 0);
}

static unsigned take_all(struct write_rig *rig)
{
	uint64_t host_off, got;
	unsigned n = 0;
	int rc;

	while (!(rc = qcow2_reserve(rig->layer, 3 * CLUSTER, &host_off, &got))) {
		cr_assert_leq(host_off + got, rig->file->len);
		n += got / CLUSTER;
	}
	cr_assert_eq(rc, -ENOSPC, "%s", strerror(-rc));
	return n;
}

Test(qcow2_space, a_device_is_used_to_its_end)
{
	for (unsigned n = 0; n < 5; n++) {
		struct write_rig rig;

		open_device(&rig, n);
		cr_assert_eq(take_all(&rig), n);
		write_rig_drop(&rig);
	}
}

/* An image whose leaks lay behind what is a smaller device now. */
Test(qcow2_space, counts_behind_a_device_are_forgotten)
{
	struct build_how how = built_how();
	uint64_t reftable_off, refblock_off, end_idx;
	struct file *file = built(&how, &reftable_off, &refblock_off);
	struct write_rig rig;
	uint8_t *bytes;

	cr_assert_eq(file_truncate(file, file->len + 3 * CLUSTER), 0);
	mem_file_inode(file)->is_block = file->is_block = true;
	bytes = mem_file_inode(file)->bytes;
	end_idx = file->len / CLUSTER;
	put_be16(bytes + refblock_off + 2 * end_idx, 1);
	put_be16(bytes + refblock_off + 2 * 255, 1);
	write_rig_open(&rig, file, NULL, NULL, 0);
	bytes = mem_file_inode(file)->bytes;
	cr_assert_eq(be16(bytes + refblock_off + 2 * end_idx), 0);
	cr_assert_eq(be16(bytes + refblock_off + 2 * 255), 0);
	cr_assert_eq(take_all(&rig), 3);
	write_rig_drop(&rig);
}

/* Space set aside for tables is room as well, when there is no other. */
Test(qcow2_space, what_is_set_aside_is_no_loss)
{
	struct table_need need;
	struct write_rig rig;
	uint64_t l2_off;
	int rc;

	open_device(&rig, 20);
	rig.layer->tables_wanted = 8;
	while ((rc = qcow2_reserve_table(qcow2_of(rig.layer), &l2_off, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(rig.cache, &need), 0);
	cr_assert_eq(rc, 0);
	cr_assert_eq(take_all(&rig), 19);
	write_rig_drop(&rig);
}
