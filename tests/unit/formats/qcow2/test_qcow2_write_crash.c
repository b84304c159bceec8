/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Power cuts under the guest's writes, when clusters lose references and are
 * used again. Every state that a cut may leave must check without errors, read
 * each sector as it was at the last flush or as it was written since, read its
 * snapshots as ever, and allow going on. Wrong orders are run as well, to see
 * that the judge would notice.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/support/effort.h"
#include "tests/support/files/cut_log.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/write_images.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/rigs/write_rig.h"

#define SECTOR      512u
#define MAX_SECTORS 512u
#define MAX_VALUES  64u
#define MAX_FLUSHES 32u
#define N_OPS       40u
#define WHY_LEN     300u
#define ID_ZERO     0u
#define ID_FIRST    1u /* what was there */

struct setup {
	const char *name;
	struct build_how how; /* clusters are drawn */
	unsigned n_sectors;
	bool compressed, extended;
};

static const struct setup setups[] = {
	{ "plain", { .cluster_bits = 9 }, 160, true, false },
	{ "1 bit", { .cluster_bits = 9, .refcount_bits = 1 }, 160, false, false },
	{ "snapshot", { .cluster_bits = 9, .n_snapshots = 1 }, 160, true, false },
	{ "2 snapshots", { .cluster_bits = 10, .n_snapshots = 2 }, 256, true, false },
	{ "refcount table",
	  { .cluster_bits = 9, .refcount_bits = 64, .n_clusters_left = 40 },
	  160,
	  true,
	  false },
	{ "extended", { .cluster_bits = 14 }, 96, false, true },
	{ "extended, snapshot", { .cluster_bits = 14, .n_snapshots = 1 }, 96, false, true },
};

/* What a sector held, in order: which write, and in which epoch it came. */
struct values {
	unsigned n;
	struct {
		uint32_t id;
		unsigned epoch;
	} list[MAX_VALUES];
};

struct flush {
	unsigned epoch; /* cut in this one or a later one, all from before is there */
	uint8_t floor[MAX_SECTORS];
};

struct run {
	const struct setup *setup;
	struct file *file;
	struct cut_log log;
	struct write_rig rig;
	uint64_t len;
	uint8_t first[MAX_SECTORS * SECTOR]; /* ID_FIRST */
	struct values values[MAX_SECTORS];
	struct flush flushes[MAX_FLUSHES];
	unsigned n_flushes;
	uint32_t next_id;
	bool grew; /* the header names another refcount table */
};

static uint8_t below[MAX_SECTORS * SECTOR / 2];
static struct run run; /* large */

/* ---- what is legal ---- */

static void value_bytes(uint32_t id, unsigned sector, uint8_t *out)
{
	if (id == ID_ZERO)
		memset(out, 0, SECTOR);
	else if (id == ID_FIRST)
		memcpy(out, run.first + sector * SECTOR, SECTOR);
	else
		build_fill(out, SECTOR, id * MAX_SECTORS + sector);
}

static unsigned epoch_now(void)
{
	return run.log.n_epochs - 1;
}

static void note(unsigned first, unsigned n, uint32_t id, unsigned epoch)
{
	for (unsigned s = first; s < first + n; s++) {
		struct values *v = &run.values[s];

		cr_assert_lt(v->n, MAX_VALUES);
		v->list[v->n].id = id;
		v->list[v->n++].epoch = epoch;
	}
}

static void note_flush(void)
{
	struct flush *f = &run.flushes[run.n_flushes++];

	cr_assert_leq(run.n_flushes, MAX_FLUSHES);
	f->epoch = epoch_now();
	for (unsigned s = 0; s < run.len / SECTOR; s++)
		f->floor[s] = run.values[s].n - 1;
}

static bool sector_is_legal(unsigned s, unsigned epoch, const uint8_t *got)
{
	const struct values *v = &run.values[s];
	uint8_t want[SECTOR];
	unsigned from = 0;

	for (unsigned i = 0; i < run.n_flushes && run.flushes[i].epoch <= epoch; i++)
		from = run.flushes[i].floor[s];
	for (; from < v->n && v->list[from].epoch <= epoch; from++) {
		value_bytes(v->list[from].id, s, want);
		if (!memcmp(want, got, SECTOR))
			return true;
	}
	return false;
}

static const char *judge_reads(struct file *state, unsigned epoch)
{
	static uint8_t got[MAX_SECTORS * SECTOR];
	unsigned n_snapshots = run.setup->how.n_snapshots;

	if (write_rig_read_fresh(state, NULL, 0, below, sizeof(below), got, run.len))
		return "does not read";
	for (unsigned s = 0; s < run.len / SECTOR; s++)
		if (!sector_is_legal(s, epoch, got + s * SECTOR))
			return "reads what it must not";
	for (unsigned i = 1; i <= n_snapshots; i++)
		if (write_rig_read_fresh(state, NULL, i, below, sizeof(below), got, run.len) ||
		    memcmp(got, run.first, run.len))
			return "a snapshot has changed";
	return NULL;
}

static bool judge(struct file *state, void *opaque)
{
	char *why = opaque, text[256];
	const char *wrong;
	uint64_t n_leaks;

	if (write_rig_check(state, &n_leaks, text, sizeof(text)))
		wrong = text;
	else
		wrong = judge_reads(state, run.log.judged_epoch);
	if (!wrong && write_rig_reopens(state))
		wrong = "can't be written to any more";
	if (wrong && !*why)
		snprintf(why, WHY_LEN, "cut in epoch %u: %s", run.log.judged_epoch, wrong);
	return !wrong;
}

/* ---- one run ---- */

static void random_write(unsigned first, unsigned n)
{
	static uint8_t buf[MAX_SECTORS * SECTOR];
	uint32_t id = ++run.next_id;

	for (unsigned i = 0; i < n; i++)
		value_bytes(id, first + i, buf + i * SECTOR);
	note(first, n, id, epoch_now());
	write_rig_write(&run.rig, first * SECTOR, buf, n * SECTOR);
}

static void random_op(void)
{
	unsigned n_sectors = run.len / SECTOR, first = rig_roll(n_sectors);
	unsigned n = MIN(1 + rig_roll(rig_roll(4) ? 3 : 30), n_sectors - first);

	switch (rig_roll(12)) {
	default: random_write(first, n); break;
	case 0:
	case 1:
	case 2:
	case 3:
		note(first, n, ID_ZERO, epoch_now());
		write_rig_zero(&run.rig, first * SECTOR, n * SECTOR, rig_roll(3) == 0);
		break;
	case 4: write_rig_copy(&run.rig, first * SECTOR, n * SECTOR); break;
	case 5:
	case 6: write_rig_commit(&run.rig, false); break;
	case 7:
		write_rig_commit(&run.rig, true);
		note_flush();
		break;
	}
}

static struct file *make_plain(const struct setup *s)
{
	struct build_cluster clusters[MAX_SECTORS];
	struct build_how how = s->how;

	how.guest_len = run.len;
	how.backing_name = "b";
	how.backing_format = "raw";
	how.clusters = clusters;
	for (unsigned i = 0; i < run.len >> how.cluster_bits; i++) {
		static const enum build_kind kinds[] = { BUILD_DATA, BUILD_ZERO_PLAIN,
							 BUILD_ZERO_ALLOC, BUILD_COMPRESSED };

		if (rig_roll(2))
			clusters[how.n_clusters++] =
				(struct build_cluster){ i, kinds[rig_roll(s->compressed ? 4 : 3)],
							i + 1 };
	}
	return write_image_built(&how);
}

static struct file *make_extended(const struct setup *s)
{
	struct file *file = write_image_extended(run.len, 16);
	struct write_rig rig;

	write_rig_open(&rig, file, NULL, below, sizeof(below));
	for (unsigned i = 0; i < 9; i++)
		write_rig_write(&rig, rig_roll(run.len / SECTOR - 8) * SECTOR, below,
				(1 + rig_roll(8)) * SECTOR);
	write_rig_settle(&rig);
	write_rig_close(&rig);
	if (s->how.n_snapshots)
		write_image_snapshot(file);
	return file;
}

/* Returns how many states were bad. */
static uint64_t crash(const struct setup *s, uint64_t seed, enum write_rig_fault fault,
		      uint64_t *n_states)
{
	uint64_t n_bad, reftable_off;
	char why[WHY_LEN] = "";

	memset(&run, 0, sizeof(run));
	run.setup = s;
	run.len = s->n_sectors * SECTOR;
	run.next_id = ID_FIRST;
	rig_seed(seed);
	build_fill(below, sizeof(below), seed);
	run.file = s->extended ? make_extended(s) : make_plain(s);
	write_rig_open(&run.rig, run.file, NULL, below, sizeof(below));
	run.rig.fault = fault;
	run.rig.compress = seed % 2;
	memcpy(run.first, run.rig.model, run.len);
	reftable_off = be64(mem_file_inode(run.file)->bytes + 48);
	note(0, s->n_sectors, ID_FIRST, 0);
	cut_log_start(&run.log, run.file, UINT64_MAX);
	for (unsigned i = 0; i < N_OPS; i++)
		random_op();
	write_rig_settle(&run.rig);
	note_flush();
	cut_log_stop(&run.log);
	run.grew = be64(mem_file_inode(run.file)->bytes + 48) != reftable_off;
	n_bad = cut_log_judge(&run.log, seed, judge, why, n_states);
	if (n_bad)
		fprintf(stderr, "%s, seed %" PRIu64 ": %" PRIu64 " states, first %s\n", s->name,
			seed, n_bad, why);
	write_rig_close(&run.rig);
	cut_log_free(&run.log);
	file_close(run.file);
	return n_bad;
}

static void every_cut(size_t i, uint64_t n_seeds)
{
	uint64_t n_states = 0, n_grew = 0;

	for (uint64_t seed = 1; seed <= n_seeds; seed++) {
		cr_assert_eq(crash(&setups[i], seed, RIG_RIGHT, &n_states), 0, "%s, seed %" PRIu64,
			     setups[i].name, seed);
		n_grew += run.grew;
	}
	cr_assert(n_grew || !setups[i].how.n_clusters_left, "the refcount table never grew");
	fprintf(stderr, "%s: %" PRIu64 " states\n", setups[i].name, n_states);
	cr_assert_gt(n_states, EFFORT(100) * n_seeds);
}

Test(qcow2_write_crash, a_cut_leaves_plain_images_right)
{
	every_cut(0, EFFORT(30));
	every_cut(1, EFFORT(30));
}

Test(qcow2_write_crash, a_cut_leaves_snapshots_right)
{
	every_cut(2, EFFORT(60));
	every_cut(3, EFFORT(60));
}

Test(qcow2_write_crash, a_cut_while_the_refcount_table_grows_does_no_harm)
{
	every_cut(4, 6); /* of some seeds the table does not grow */
}

Test(qcow2_write_crash, a_cut_leaves_subclusters_right)
{
	every_cut(5, EFFORT(12));
	every_cut(6, EFFORT(24));
}

static uint64_t n_bad_with(enum write_rig_fault fault, uint64_t n_seeds)
{
	uint64_t n_states = 0, n_bad = 0;

	for (uint64_t seed = 1; seed <= n_seeds && !n_bad; seed++)
		for (size_t i = 0; i < 4 && !n_bad; i++)
			n_bad += crash(&setups[i], seed, fault, &n_states);
	fprintf(stderr, "fault %d: after %" PRIu64 " states\n", fault, n_states);
	return n_bad;
}

Test(qcow2_write_crash, the_judge_notices_wrong_orders)
{
	cr_assert(n_bad_with(RIG_FREED_TOO_EARLY, 6));
	cr_assert(n_bad_with(RIG_NO_DRAIN_BARRIER, 6));
	cr_assert(n_bad_with(RIG_ROOT_TOO_EARLY, 6));
}
