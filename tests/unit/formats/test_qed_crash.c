/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED after a power cut. Batches of copies are committed in the order of
 * engine/commit/commit.c, pipelined: the data and new tables of a batch share an epoch
 * with the table and L1 entries of the batch before it. Each epoch is cut with
 * nothing, all, each one, all but one and random subsets of its 512-byte
 * sectors on disk. Whatever is left must check without errors, must have what
 * was committed, and must not have what is not there.
 *
 * Two wrong orders are run as well, to see that the judge would notice.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "formats/qed/check.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/core/staged.h"
#include "tests/support/effort.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/qed_rig.h"
#include "tests/support/rigs/rig.h"

#define CLUSTER   4096u
#define N_BATCHES 3
#define N_EPOCHS  (N_BATCHES + 1)
#define N_GUEST   1600 /* clusters: several L2 tables */
#define MAX_UNITS 4096

enum order {
	ORDER_RIGHT,
	ORDER_DATA_WITH_TABLE, /* breaks I1 */
	ORDER_ROOT_FIRST,      /* L1 entries in the epoch of what they reach */
};

/* 512 bytes of one write. */
struct unit {
	unsigned epoch;
	bool is_data;
	uint64_t off;
	uint8_t bytes[512];
};

struct run {
	uint64_t seed;
	struct qed_rig rig;
	uint8_t *base; /* the file before the first epoch */
	uint64_t base_len;
	struct unit *units;
	size_t n_units;
	int batch[N_GUEST]; /* that maps the cluster; -1: none */
	bool is_zero[N_GUEST];
	uint64_t n_states, n_bad;
};

static void log_write(struct run *run, unsigned epoch, uint64_t off, const uint8_t *bytes,
		      size_t len)
{
	for (size_t i = 0; i < len; i += 512) {
		struct unit *unit = &run->units[run->n_units++];

		cr_assert_lt(run->n_units, MAX_UNITS);
		*unit = (struct unit){ .epoch = epoch, .off = off + i };
		memcpy(unit->bytes, bytes + i, MIN(len - i, (size_t)512));
	}
}

static void log_stages(struct run *run, unsigned epoch, const struct staged *staged,
		       enum stage first, enum stage last)
{
	for (enum stage stage = first; stage <= last; stage++)
		for (const struct staged_write *w = staged->head[stage]; w; w = w->next)
			log_write(run, epoch, w->host_off, w->bytes, w->len);
}

static void write_data(struct run *run, unsigned epoch, uint64_t host_off, uint64_t guest_off,
		       uint64_t seed)
{
	uint8_t buf[CLUSTER];

	qed_rig_pattern(buf, sizeof(buf), guest_off, seed);
	log_write(run, epoch, host_off, buf, sizeof(buf));
	for (size_t i = 1; i <= sizeof(buf) / 512; i++)
		run->units[run->n_units - i].is_data = true;
	cr_assert_eq(file_write(run->rig.file, buf, sizeof(buf), host_off), 0);
}

/* A copy that fails behind its write: the space holds rubbish and comes back. */
static void fail_copy(struct run *run, unsigned epoch)
{
	struct layer *layer = run->rig.layer;
	uint64_t host_off, got;

	cr_assert_eq(layer_reserve(layer, (1 + rig_roll(3)) * CLUSTER, &host_off, &got), 0);
	for (uint64_t at = 0; at < got; at += CLUSTER)
		write_data(run, epoch, host_off + at, at, ~run->seed);
	layer_release(layer, host_off, got);
}

static void copy_cluster(struct run *run, unsigned batch, unsigned data_epoch, size_t i)
{
	struct layer *layer = run->rig.layer;
	struct mapping map = { .guest_off = i * CLUSTER, .len = CLUSTER };
	uint64_t got;

	if (run->batch[i] >= 0)
		return;
	map.is_zero = rig_roll(4) == 0;
	if (!map.is_zero) {
		cr_assert_eq(layer_reserve(layer, CLUSTER, &map.host_off, &got), 0);
		write_data(run, data_epoch, map.host_off, map.guest_off, run->seed);
	}
	cr_assert_eq(qed_rig_publish(&run->rig, &map, 1), 0);
	run->batch[i] = (int)batch;
	run->is_zero[i] = map.is_zero;
}

static void run_batches(struct run *run, enum order order)
{
	for (unsigned b = 0; b < N_BATCHES; b++) {
		struct staged staged = { 0 };

		for (int n = 0; n < 6; n++) {
			if (rig_roll(3) == 0)
				fail_copy(run, b);
			copy_cluster(run, b, order == ORDER_DATA_WITH_TABLE ? b + 1 : b,
				     rig_roll(N_GUEST));
		}
		qed_rig_stage(&run->rig, &staged);
		log_stages(run, order == ORDER_ROOT_FIRST ? b + 1 : b, &staged, STAGE_REFCOUNT,
			   STAGE_REFTABLE);
		log_stages(run, b + 1, &staged, STAGE_TABLE, STAGE_ROOT);
		rig_write_stages(&staged, STAGE_REFCOUNT, N_STAGES);
	}
}

/* Batch `b` is: on disk for sure (1), perhaps (0), surely not (-1), cut in `epoch`. */
static int committed(unsigned b, unsigned epoch)
{
	return b + 1 < epoch ? 1 : b + 1 == epoch ? 0 : -1;
}

static bool cluster_ok(struct run *run, struct qed_rig *cut, size_t i, unsigned epoch)
{
	int sure = run->batch[i] < 0 ? -1 : committed((unsigned)run->batch[i], epoch);
	uint8_t want[CLUSTER], got[CLUSTER];
	struct extent e;

	if (qed_rig_map(cut, i * CLUSTER, CLUSTER, &e))
		return false;
	if (e.kind == EXTENT_UNALLOCATED)
		return sure <= 0;
	if (sure < 0 || (e.kind == EXTENT_ZERO) != run->is_zero[i])
		return false;
	if (e.kind == EXTENT_ZERO)
		return true;
	qed_rig_pattern(want, CLUSTER, i * CLUSTER, run->seed);
	return !file_read_padded(cut->file, got, CLUSTER, e.host_off) &&
	       !memcmp(want, got, CLUSTER);
}

/* The image as a cut in `epoch` leaves it, with the sectors of that epoch that `kept` names. */
static void judge(struct run *run, unsigned epoch, const bool *kept)
{
	struct file *file = mem_file_new("cut.qed", run->base_len);
	struct check_result found = { 0 };
	struct qed_rig cut;
	bool ok;

	memcpy(mem_file_inode(file)->bytes, run->base, run->base_len);
	for (size_t i = 0; i < run->n_units; i++)
		if (run->units[i].epoch < epoch || (run->units[i].epoch == epoch && kept[i]))
			cr_assert_eq(file_write(file, run->units[i].bytes, 512, run->units[i].off),
				     0);
	ok = !qed_rig_open(&cut, file, NULL);
	cr_assert(ok, "the header does not change");
	ok = !qed_check(cut.layer, &found, NULL) && !found.n_errors && !found.n_check_errors;
	for (size_t i = 0; ok && i < N_GUEST; i++)
		ok = cluster_ok(run, &cut, i, epoch);
	/* Going on from there must be allowed. */
	ok = ok && !layer_begin_writing(cut.layer, NULL);
	run->n_states++;
	run->n_bad += !ok;
	qed_rig_close(&cut);
	file_close(file);
}

static void cut_epoch(struct run *run, unsigned epoch)
{
	static bool kept[MAX_UNITS];

	for (int all = 0; all < 2; all++) {
		memset(kept, all, sizeof(kept));
		judge(run, epoch, kept);
		/* Each sector alone, and all others: of the data only some. */
		for (size_t i = 0; i < run->n_units; i++) {
			if (run->units[i].epoch != epoch || (run->units[i].is_data && rig_roll(4)))
				continue;
			kept[i] = !all;
			judge(run, epoch, kept);
			kept[i] = all;
		}
	}
	for (int n = 0; n < 40; n++) {
		uint64_t odds = 1 + rig_roll(9);

		for (size_t i = 0; i < run->n_units; i++)
			kept[i] = rig_roll(10) < odds;
		judge(run, epoch, kept);
	}
}

static uint64_t crash(uint64_t seed, enum order order, uint64_t *n_states)
{
	const struct image_create how = { .guest_len = N_GUEST * CLUSTER,
					  .cluster_len = CLUSTER,
					  .table_clusters = 1u << (seed % 2) };
	struct run run = { .seed = seed };
	struct file *file = mem_file_new("run.qed", 0);

	rig_seed(seed);
	memset(run.batch, -1, sizeof(run.batch));
	run.units = calloc(MAX_UNITS, sizeof(*run.units));
	qed_rig_create(&run.rig, file, &how);
	run.base_len = file->len;
	run.base = malloc(run.base_len);
	cr_assert(run.units && run.base);
	memcpy(run.base, mem_file_inode(file)->bytes, run.base_len);
	run_batches(&run, order);
	for (unsigned epoch = 0; epoch < N_EPOCHS; epoch++)
		cut_epoch(&run, epoch);
	qed_rig_close(&run.rig);
	file_close(file);
	free(run.units);
	free(run.base);
	*n_states += run.n_states;
	return run.n_bad;
}

Test(qed_crash, every_cut_leaves_a_sound_image)
{
	uint64_t n_states = 0;

	for (uint64_t seed = 1; seed <= 24; seed++)
		cr_assert_eq(crash(seed, ORDER_RIGHT, &n_states), 0, "seed %" PRIu64, seed);
	cr_assert_gt(n_states, EFFORT(4000), "%" PRIu64, n_states);
}

Test(qed_crash, the_judge_notices_wrong_orders)
{
	uint64_t n_states = 0, n_bad = 0;

	for (uint64_t seed = 1; seed <= 2; seed++)
		n_bad += crash(seed, ORDER_DATA_WITH_TABLE, &n_states);
	cr_assert_gt(n_bad, 0, "data with its entries");
	/* Shows only where a new table is the last thing in the file. */
	n_bad = 0;
	for (uint64_t seed = 1; seed <= 24; seed++)
		n_bad += crash(seed, ORDER_ROOT_FIRST, &n_states);
	cr_assert_gt(n_bad, 0, "new tables with the L1 entries");
}
