/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's writes to QED images: what each kind of cluster is to a write,
 * random sequences against a flat disk, and power cuts. QED gives no space
 * back, so zeros over data are data.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "io/base.h"
#include "tests/support/effort.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/qed_rig.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/rigs/write_rig.h"

#define CLUSTER 4096u
#define N_GUEST 1100u /* clusters: three L2 tables of one cluster */
#define LEN     (N_GUEST * CLUSTER - 1536)

static uint8_t below[LEN / 2 + 77], noise[64 * CLUSTER];

static struct file *new_image(unsigned table_clusters)
{
	struct image_create how = {
		.guest_len = LEN,
		.cluster_len = CLUSTER,
		.table_clusters = table_clusters,
		.backing_name = "b",
		.backing_format = IMAGE_RAW,
	};
	struct file *file = mem_file_new("img", 0);
	struct err err = { 0 };

	cr_assert_eq(qed_rig_make(file, &how, &err), 0, "%s", err.message);
	build_fill(below, sizeof(below), 5);
	build_fill(noise, sizeof(noise), 6);
	return file;
}

static void close_well(struct write_rig *rig)
{
	struct file *file = rig->file;

	write_rig_assert_model(rig);
	write_rig_settle(rig);
	write_image_assert_sound(file, NULL, 0, below, sizeof(below), rig->model, LEN);
	write_rig_close(rig);
	file_close(file);
}

Test(qed_write, each_kind_is_told_apart)
{
	struct write_extent e;
	struct write_rig rig;

	write_rig_open(&rig, new_image(1), NULL, below, sizeof(below));
	e = write_rig_look(&rig, 5, 3 * CLUSTER);
	cr_assert(e.kind == WRITE_NEW && e.is_unallocated && e.unit_len == CLUSTER);
	write_rig_write(&rig, 2 * CLUSTER + 9, noise, 100);
	e = write_rig_look(&rig, 2 * CLUSTER + 7, 3 * CLUSTER);
	cr_assert_eq(e.kind, WRITE_IN_PLACE);
	cr_assert_eq(e.len, CLUSTER - 7);
	cr_assert_eq(e.host_off, write_rig_map(&rig, 2 * CLUSTER + 7, 1).host_off);
	write_rig_zero(&rig, 4 * CLUSTER, CLUSTER, false);
	e = write_rig_look(&rig, 4 * CLUSTER, CLUSTER);
	cr_assert(e.kind == WRITE_NEW && e.reads_zero && !e.is_unallocated);
	cr_assert_eq(write_rig_map(&rig, 4 * CLUSTER, 1).kind, EXTENT_ZERO);
	write_rig_write(&rig, 4 * CLUSTER + 1, noise, 1);
	cr_assert_eq(write_rig_map(&rig, 4 * CLUSTER, 1).kind, EXTENT_DATA);
	close_well(&rig);
}

/* Space can't be given back: over data zeros are written, and an entry for them is refused. */
Test(qed_write, zeros_over_data_are_data)
{
	struct mapping map = { .guest_off = 2 * CLUSTER, .len = CLUSTER, .is_zero = true };
	struct table_need need;
	struct write_rig rig;
	uint64_t host_off;
	int rc;

	write_rig_open(&rig, new_image(1), NULL, below, sizeof(below));
	write_rig_write(&rig, 2 * CLUSTER, noise, CLUSTER);
	host_off = write_rig_map(&rig, 2 * CLUSTER, 1).host_off;
	while ((rc = layer_publish_write(rig.layer, &map, 1, &need)) == TABLE_NEED)
		cr_assert_eq(table_load_now(rig.cache, &need), 0);
	cr_assert_eq(rc, -EEXIST);
	write_rig_zero(&rig, CLUSTER, 3 * CLUSTER, false);
	cr_assert_eq(write_rig_map(&rig, 2 * CLUSTER, 1).host_off, host_off);
	cr_assert_eq(rig.n_zero_entries, 2);
	close_well(&rig);
}

Test(qed_write, the_last_cluster_is_a_partial_one)
{
	struct write_rig rig;

	write_rig_open(&rig, new_image(2), NULL, below, sizeof(below));
	write_rig_write(&rig, LEN - 10, noise, 10);
	write_rig_zero(&rig, LEN - 3 * CLUSTER, 3 * CLUSTER, false);
	close_well(&rig);
}

static void random_op(struct write_rig *rig)
{
	uint64_t off = rig_roll(2) ? rig_roll(LEN) : rig_roll(40 * CLUSTER);
	uint64_t len = 1 + rig_roll(rig_roll(3) ? 700 : 9 * CLUSTER);

	len = MIN(len, LEN - off);
	switch (rig_roll(12)) {
	default: write_rig_write(rig, off, noise + rig_roll(CLUSTER), len); break;
	case 0:
	case 1: write_rig_zero(rig, off, len, false); break;
	case 2:
		off = round_down(off, CLUSTER);
		write_rig_zero(rig, off, MIN(20 * CLUSTER, LEN - off), true);
		break;
	case 3:
	case 4: write_rig_copy(rig, off, len); break;
	case 5: write_rig_commit(rig, rig_roll(2)); break;
	}
}

Test(qed_write, random_writes_keep_an_image_right)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct write_rig rig;

		rig_seed(seed);
		write_rig_open(&rig, new_image(1u << seed % 3), NULL, below, sizeof(below));
		for (unsigned i = 0; i < 150; i++)
			random_op(&rig);
		cr_assert(rig.n_in_place && rig.n_new && rig.n_zero_entries && rig.n_copied);
		close_well(&rig);
	}
}

/* ---- power cuts ---- */

#define N_BATCHES 6

/* The disk after each hard commit, by the epoch from which on it is durable. */
struct cuts {
	struct cut_log log;
	uint8_t *disk[N_BATCHES + 1];
	unsigned epoch[N_BATCHES + 1];
	const char *why;
};

/* Each sector is as in the last durable disk, or as in the next one. (A batch writes each sector at
 * most once.) */
static bool judge(struct file *state, void *opaque)
{
	static uint8_t got[LEN];
	struct cuts *cuts = opaque;
	unsigned old = 0, new;
	uint64_t n_leaks;
	char text[200];

	while (old < N_BATCHES && cuts->epoch[old + 1] <= cuts->log.judged_epoch)
		old++;
	new = MIN(old + 1, (unsigned)N_BATCHES);
	cuts->why = "does not check";
	if (write_rig_check(state, &n_leaks, text, sizeof(text)))
		return false;
	cuts->why = "does not read";
	if (write_rig_read_fresh(state, NULL, 0, below, sizeof(below), got, LEN))
		return false;
	cuts->why = "reads what it must not";
	for (uint64_t at = 0; at < LEN; at += 512)
		if (memcmp(got + at, cuts->disk[old] + at, 512) &&
		    memcmp(got + at, cuts->disk[new] + at, 512))
			return false;
	cuts->why = "can't be written to any more";
	return !write_rig_reopens(state);
}

static uint8_t *copy_of(const uint8_t *disk)
{
	uint8_t *copy = malloc(LEN);

	memcpy(copy, disk, LEN);
	return copy;
}

/* A batch goes over the clusters once, so that no sector is written twice. */
static void batch(struct write_rig *rig)
{
	uint64_t cluster = rig_roll(30);

	for (unsigned i = 0; i < 9; i++, cluster += 1 + rig_roll(150)) {
		uint64_t off = (cluster % N_GUEST) * CLUSTER, in = 512 * rig_roll(4);

		if (cluster >= N_GUEST - 1)
			break;
		if (rig_roll(4) == 0)
			write_rig_zero(rig, off, CLUSTER, false);
		else if (rig_roll(4) == 0)
			write_rig_copy(rig, off, CLUSTER);
		else
			write_rig_write(rig, off + in, noise + 512 * rig_roll(9),
					512 * (1 + rig_roll(4)));
		if (rig_roll(4) == 0)
			write_rig_commit(rig, false);
	}
}

static uint64_t crash(uint64_t seed, enum write_rig_fault fault, uint64_t *n_states)
{
	static struct cuts cuts;
	struct write_rig rig;
	struct file *file;
	uint64_t n_bad;

	cuts = (struct cuts){ 0 };
	rig_seed(seed);
	file = new_image(1u << seed % 2);
	write_rig_open(&rig, file, NULL, below, sizeof(below));
	write_rig_write(&rig, 3 * CLUSTER, noise, 5 * CLUSTER);
	write_rig_settle(&rig);
	rig.fault = fault;
	cuts.disk[0] = copy_of(rig.model);
	cut_log_start(&cuts.log, file, UINT64_MAX);
	for (unsigned i = 1; i <= N_BATCHES; i++) {
		batch(&rig);
		write_rig_commit(&rig, true);
		cuts.disk[i] = copy_of(rig.model);
		cuts.epoch[i] = cuts.log.n_epochs - 1;
	}
	cut_log_stop(&cuts.log);
	n_bad = cut_log_judge(&cuts.log, seed, judge, &cuts, n_states);
	for (unsigned i = 0; i <= N_BATCHES; i++)
		free(cuts.disk[i]);
	write_rig_close(&rig);
	cut_log_free(&cuts.log);
	file_close(file);
	return n_bad;
}

Test(qed_write, every_cut_leaves_a_sound_image)
{
	uint64_t n_states = 0;

	for (uint64_t seed = 1; seed <= 4; seed++)
		cr_assert_eq(crash(seed, RIG_RIGHT, &n_states), 0, "seed %" PRIu64, seed);
	cr_assert_gt(n_states, EFFORT(500));
}

Test(qed_write, the_judge_notices_a_wrong_order)
{
	uint64_t n_states = 0, n_bad = 0;

	for (uint64_t seed = 1; seed <= 4 && !n_bad; seed++)
		n_bad = crash(seed, RIG_ROOT_TOO_EARLY, &n_states);
	cr_assert(n_bad);
}
