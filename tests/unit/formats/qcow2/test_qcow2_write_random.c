/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Random sequences of the guest's writes, zeroes and discards, of copies from
 * below and of commits, on all shapes of qcow2 images, against a flat disk. At
 * the end nothing may be lost, nothing leaked, and the snapshots must read as
 * before; now and then the image is closed and opened again on the way.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/support/effort.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/rigs/write_rig.h"

#define N_OPS   70
#define N_SEEDS EFFORT(12)

enum shape {
	PLAIN,
	EXTENDED,
	EXTERNAL,
	EXTERNAL_EXTENDED,
};

struct setup {
	const char *name;
	enum shape shape;
	unsigned version, cluster_bits, refcount_bits, n_snapshots;
	unsigned n_guest; /* clusters */
	bool compressed, no_backing;
};

static const struct setup setups[] = {
	{ "plain", .cluster_bits = 12, .n_guest = 60, .compressed = true },
	{ "small clusters", .cluster_bits = 9, .n_guest = 400, .compressed = true },
	{ "version 2", .version = 2, .cluster_bits = 9, .n_guest = 300, .compressed = true },
	{ "no backing", .cluster_bits = 9, .n_guest = 300, .compressed = true, .no_backing = true },
	{ "1 bit", .cluster_bits = 9, .refcount_bits = 1, .n_guest = 300 },
	{ "2 bits", .cluster_bits = 9, .refcount_bits = 2, .n_guest = 300, .n_snapshots = 1 },
	{ "64 bits", .cluster_bits = 10, .refcount_bits = 64, .n_guest = 200, .compressed = true },
	{ "snapshot", .cluster_bits = 9, .n_guest = 300, .n_snapshots = 1, .compressed = true },
	{ "4 snapshots", .cluster_bits = 12, .n_guest = 60, .n_snapshots = 4, .compressed = true },
	{ "extended", EXTENDED, .n_guest = 20 },
	{ "extended, snapshot", EXTENDED, .n_guest = 20, .n_snapshots = 1 },
	{ "extended, 1 bit", EXTENDED, .n_guest = 20, .refcount_bits = 1 },
	{ "data file", EXTERNAL, .n_guest = 20 },
	{ "data file, extended", EXTERNAL_EXTENDED, .n_guest = 20 },
};

static uint8_t below[MiB / 2], noise[MiB];

static struct file *make_plain(const struct setup *s, uint64_t guest_len)
{
	struct build_cluster clusters[400];
	struct build_how how = {
		.version = s->version,
		.cluster_bits = s->cluster_bits,
		.refcount_bits = s->refcount_bits,
		.guest_len = guest_len,
		.backing_name = s->no_backing ? NULL : "b",
		.backing_format = s->no_backing ? NULL : "raw",
		.clusters = clusters,
		.n_snapshots = s->n_snapshots,
		.shuffle_seed = 1 + rig_roll(1000),
	};

	for (unsigned i = 0; i < s->n_guest; i++) {
		static const enum build_kind kinds[] = { BUILD_DATA, BUILD_ZERO_PLAIN,
							 BUILD_ZERO_ALLOC, BUILD_COMPRESSED };
		enum build_kind kind = kinds[rig_roll(s->compressed ? 4 : 3)];

		if (rig_roll(3) == 0)
			continue;
		if (s->version == 2 && kind != BUILD_COMPRESSED)
			kind = BUILD_DATA;
		clusters[how.n_clusters++] = (struct build_cluster){ i, kind, i + 1 };
	}
	return write_image_built(&how);
}

/* Some bytes here and there, each time somewhere else. */
static void random_op(struct write_rig *rig)
{
	uint64_t guest_len = rig->layer->guest_len, off = rig_roll(guest_len);
	uint64_t len = 1 + rig_roll(rig_roll(3) ? 700 : 9 * rig->layer->cluster_len);

	if (rig_roll(3) == 0) {
		off = round_down(off, rig->layer->cluster_len);
		len = round_up(len, rig->layer->granule_len);
	}
	len = MIN(len, guest_len - off);
	switch (rig_roll(16)) {
	default: write_rig_write(rig, off, noise + rig_roll(65536), len); break;
	case 0:
	case 1: write_rig_zero(rig, off, len, true); break;
	case 2:
	case 3:
	case 4: write_rig_zero(rig, off, MIN(4 * len, guest_len - off), false); break;
	case 5:
	case 6:
		if (rig->layer->has_backing)
			write_rig_copy(rig, off, len);
		break;
	case 7:
	case 8: write_rig_commit(rig, false); break;
	case 9: write_rig_commit(rig, true); break;
	case 10:
	case 11: write_rig_drain(rig); break;
	}
}

/* Writes something into an image that has nothing, and takes a snapshot of it. */
static void snapshot_extended(struct file *file)
{
	struct write_rig rig;

	write_rig_open(&rig, file, NULL, below, sizeof(below));
	for (unsigned i = 0; i < 30; i++) {
		uint64_t off = rig_roll(rig.layer->guest_len);

		write_rig_write(&rig, off, noise,
				MIN(1 + rig_roll(3000), rig.layer->guest_len - off));
	}
	write_rig_settle(&rig);
	write_rig_close(&rig);
	write_image_snapshot(file);
}

static struct file *make_image(const struct setup *s, uint64_t guest_len)
{
	struct file *file;

	switch (s->shape) {
	case PLAIN: return make_plain(s, guest_len);
	case EXTENDED:
		file = write_image_extended(guest_len, s->refcount_bits);
		if (s->n_snapshots)
			snapshot_extended(file);
		return file;
	case EXTERNAL: return write_image_external(guest_len, false);
	case EXTERNAL_EXTENDED: return write_image_external(guest_len, true);
	}
	abort();
}

struct run {
	const struct setup *setup;
	struct file *file, *data;
	uint64_t guest_len, below_len;
	uint8_t *was[10], *is; /* the snapshots; the disk at the end */
	unsigned n_compressed;
};

static void judge(struct run *run, const struct write_rig *rig)
{
	write_image_assert_sound(run->file, run->data, 0, below, run->below_len, rig->model,
				 run->guest_len);
	for (unsigned i = 1; i <= run->setup->n_snapshots; i++)
		write_image_assert_sound(run->file, NULL, i, below, run->below_len, run->was[i],
					 run->guest_len);
}

static void run_ops(struct run *run)
{
	struct write_rig rig;

	for (unsigned life = 0; life < 2; life++) {
		write_rig_open(&rig, run->file, run->data, below, run->below_len);
		if (run->is)
			cr_assert_arr_eq(run->is, rig.model, run->guest_len);
		rig.auto_drain = false;
		rig.compress = run->setup->compressed || run->setup->shape == EXTENDED;
		for (unsigned i = 0; i < N_OPS; i++)
			random_op(&rig);
		write_rig_assert_model(&rig);
		write_rig_settle(&rig);
		write_rig_assert_model(&rig);
		judge(run, &rig);
		free(run->is);
		run->is = rig.model;
		run->n_compressed += rig.n_compressed;
		rig.model = NULL;
		write_rig_close(&rig);
	}
}

static void begin_run(struct run *run, const struct setup *s, uint64_t seed)
{
	uint32_t cluster_len = s->shape == PLAIN ? 1u << s->cluster_bits : 16 * KiB;

	rig_seed(seed);
	build_fill(below, sizeof(below), seed);
	build_fill(noise, sizeof(noise), ~seed);
	*run = (struct run){ .setup = s };
	run->guest_len = (uint64_t)s->n_guest * cluster_len - 512 * rig_roll(2);
	run->below_len = s->no_backing ? 0 : MIN(sizeof(below), run->guest_len * 3 / 4 + 100);
	run->file = make_image(s, run->guest_len);
	if (s->shape == EXTERNAL || s->shape == EXTERNAL_EXTENDED) {
		run->data = mem_file_new("data", run->guest_len);
		memset(mem_file_inode(run->data)->bytes, 0x99, run->guest_len);
	}
	for (unsigned i = 1; i <= s->n_snapshots; i++) {
		run->was[i] = malloc(run->guest_len);
		cr_assert_eq(write_rig_read_fresh(run->file, NULL, i, below, run->below_len,
						  run->was[i], run->guest_len),
			     0);
	}
}

static void end_run(struct run *run)
{
	for (unsigned i = 1; i <= run->setup->n_snapshots; i++)
		free(run->was[i]);
	free(run->is);
	file_close(run->file);
	if (run->data)
		file_close(run->data);
}

static void all_seeds(const struct setup *s)
{
	unsigned n_compressed = 0;

	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		struct run run;

		fprintf(stderr, "%s, seed %" PRIu64 "\n", s->name, seed);
		begin_run(&run, s, seed);
		run_ops(&run);
		n_compressed += run.n_compressed;
		end_run(&run);
	}
	/* Nothing shrinks by a sector that has only one. */
	cr_assert(n_compressed || !s->compressed || s->cluster_bits == 9, "%s", s->name);
}

Test(qcow2_write_random, random_writes_keep_plain_images_right)
{
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		if (setups[i].shape == PLAIN && !setups[i].n_snapshots)
			all_seeds(&setups[i]);
}

Test(qcow2_write_random, random_writes_keep_snapshots_right)
{
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		if (setups[i].shape == PLAIN && setups[i].n_snapshots)
			all_seeds(&setups[i]);
}

Test(qcow2_write_random, random_writes_keep_subclusters_right)
{
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		if (setups[i].shape == EXTENDED)
			all_seeds(&setups[i]);
}

Test(qcow2_write_random, random_writes_keep_data_files_right)
{
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		if (setups[i].shape == EXTERNAL || setups[i].shape == EXTERNAL_EXTENDED)
			all_seeds(&setups[i]);
}

/* ---- and as QEMU sees it ---- */

static void qemu_agrees(struct run *run)
{
	const char *base = scratch_file("b", below, run->below_len ? run->below_len : 1);
	const struct mem_inode *image = mem_file_inode(run->file);
	const char *img = scratch_file("img", image->bytes, image->len), *want;
	char out[2000];
	int rc;

	(void)base;
	if (run->data)
		scratch_file("data", mem_file_inode(run->data)->bytes,
			     mem_file_inode(run->data)->len);
	want = scratch_file("want", run->is, run->guest_len);
	rc = qemu_img_run(out, sizeof(out), "cd %s && qemu-img check -f qcow2 %s", scratch_dir(),
			  img);
	cr_assert_eq(rc, 0, "%s: %s", run->setup->name, out);
	rc = qemu_img_run(out, sizeof(out), "cd %s && qemu-img compare -f qcow2 -F raw %s %s",
			  scratch_dir(), img, want);
	cr_assert_eq(rc, 0, "%s: %s", run->setup->name, out);
	for (unsigned i = 1; i <= run->setup->n_snapshots; i++) {
		want = scratch_file("want", run->was[i], run->guest_len);
		rc = qemu_img_run(out, sizeof(out),
				  "cd %s && qemu-img convert -l snapshot.id=%u -f qcow2 -O raw %s "
				  "was && qemu-img compare -f raw -F raw was %s",
				  scratch_dir(), i, img, want);
		cr_assert_eq(rc, 0, "%s, snapshot %u: %s", run->setup->name, i, out);
	}
}

Test(qcow2_write_random, qemu_reads_what_random_writes_left, .init = scratch_make,
     .fini = scratch_remove)
{
	if (!qemu_img_installed())
		scratch_skip("qemu-img is not installed");
	for (size_t i = 0; i < ARRAY_LEN(setups); i++) {
		struct run run;

		begin_run(&run, &setups[i], 100 + i);
		run_ops(&run);
		qemu_agrees(&run);
		end_run(&run);
	}
}
