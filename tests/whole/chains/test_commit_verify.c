/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Commits that verify, under a guest that writes: what the lower image got is all read back, and
 * what its medium bent or lost is found before a link changes: the chain is whole and reads the
 * same. The list of what was copied is made so short that most of them verify several times.
 *
 *   CHAIN_SEED=first CHAIN_SEEDS=n   other chains, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/commit/batch.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/copied.h"
#include "engine/core/ranges/zero.h"
#include "formats/chain/map.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/tables/tables.h"
#include "tests/machine/sim_chains.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"
#include "tests/whole/chains/snap_trial.h"

TIME_LIMIT(600);
TestSuite(commit_verify, .timeout = TIME_LIMIT_CLOCK(600));

static const struct sim_chain_how kinds[] = {
	{ SIM_V3(9, 0), SIM_SIZE(60, 3) },
	{ SIM_SMALL_QED, SIM_SIZE(12, 3) },
	{ SIM_V3(12, 16), SIM_SIZE(40, 4) },
	{ SIM_V2(9), SIM_SIZE(60, 2) },
};

/* What the lower image's medium does to what was written. */
enum bend {
	BEND_NOTHING,
	BEND_BIT,    /* of a byte of it */
	LOSE_SECTOR, /* the write of one: zeros are there */
	LOSE_ENTRY,  /* the write of the table entry that leads to it */
	N_BENDS,
};

struct medium {
	uint64_t seed;
	enum bend bend;
	bool done;
	bool is_verifying;
	unsigned n_rounds;  /* verifications begun */
	uint64_t guest_off; /* of the item that is bent */
	uint32_t len;
	const struct file *file; /* in which it lies */
};

static void write_back(struct file *file, const void *bytes, size_t len, uint64_t off)
{
	cr_assert_eq(file_write(file, bytes, len, off), 0);
}

static bool reads_zero(struct layer *lower, uint64_t host_off, uint32_t len)
{
	uint8_t bytes[512];

	len = MIN(len, (uint32_t)sizeof(bytes));
	cr_assert_eq(file_read(lower->data, bytes, len, host_off), 0);
	return zero_is(bytes, len);
}

/* On the disk, not in the tables that are in memory. */
static bool lose_entry(struct layer *lower, uint64_t guest_off)
{
	struct qcow2 *q = qcow2_of(lower);
	static const uint8_t none[16];
	struct table_need need;
	struct table *l2;
	uint64_t l2_off;
	uint32_t byte;

	if (layer_format(lower) != IMAGE_QCOW2 ||
	    qcow2_l2_table_off(q, guest_off, &l2_off, &need) ||
	    qcow2_l2_slice_to_change(q, l2_off, guest_off, &l2, &byte, &need))
		return false;
	write_back(lower->file, none, q->l2_entry_len, l2->host_off + byte);
	return true;
}

/* With a table entry goes all of its cluster. What of it no layer above holds was never copied: the
 * chain has lost that, whatever the job finds. Items are parts of clusters, and which is hit
 * depends on how far the guest's writes came. */
static bool is_held_above(struct bpull_disk *disk, uint64_t guest_off)
{
	const struct copy_down *down = &disk->walk->down;
	uint32_t cluster_len = disk_overlay(down->into)->cluster_len;
	uint64_t at = round_down(guest_off, cluster_len), end = MIN(at + cluster_len, down->end);
	struct table_need need;
	struct extent e;

	for (; at < end; at += e.len)
		if (chain_map_between(disk->chain, down->from, down->to, at, end - at, &e, &need) ||
		    e.kind == EXTENT_UNALLOCATED)
			return false;
	return true;
}

static bool bend(struct layer *lower, const struct medium *m, uint64_t host_off)
{
	static const uint8_t zeros[512];
	uint8_t bytes[512];
	uint32_t len = MIN(m->len, (uint32_t)sizeof(bytes));

	cr_assert_eq(file_read(lower->data, bytes, len, host_off), 0);
	bytes[m->seed % len] ^= 0x10;
	write_back(lower->data, m->bend == LOSE_SECTOR ? zeros : bytes, len, host_off);
	return true;
}

static void harm(struct bpull_disk *disk, struct medium *m)
{
	const struct copied_list *list = &disk->verify->list;
	const struct copied *item = &list->items[m->seed * 7919 % list->n];
	struct layer *lower = disk_overlay(disk->walk->down.into);
	struct table_need need;
	struct extent e;

	/* What waits for a commit would be written again. */
	if (m->bend == LOSE_ENTRY && !commit_is_clean(disk->walk->down.into))
		return;
	if (item->is_zero || layer_map(lower, item->guest_off, 1, &e, &need) ||
	    e.kind != EXTENT_DATA)
		return;
	/* Lost, that would read zeros, too. */
	if (m->bend != BEND_BIT && reads_zero(lower, e.host_off, item->len))
		return;
	if (m->bend == LOSE_ENTRY && !is_held_above(disk, item->guest_off))
		return;
	m->guest_off = item->guest_off;
	m->len = item->len;
	m->file = m->bend == LOSE_ENTRY ? lower->file : lower->data;
	m->done = m->bend == LOSE_ENTRY ? lose_entry(lower, item->guest_off)
					: bend(lower, m, e.host_off);
}

static void look(struct trial *t)
{
	struct medium *m = t->look_arg;
	struct bpull_disk *disk = t->guest.disk;
	struct verify *verify = disk->verify;
	bool is_verifying = disk->job.step == JOB_VERIFYING;

	if (!verify)
		return;
	verify->max_items = 1 + m->seed % 40;
	m->n_rounds += is_verifying && !m->is_verifying;
	m->is_verifying = is_verifying;
	/* All of it is written, durable or not. */
	if (m->bend && !m->done && is_verifying && !verify->uncached && verify->list.n &&
	    m->n_rounds > m->seed % 3)
		harm(disk, m);
}

/* Of each chain: the image into the next file, into the last, and files between. */
static void commit(const struct sim_chain *chain, unsigned which, struct medium *m,
		   struct snap_trial *t)
{
	static const char *const names[] = { "/none" };
	unsigned last = chain->n_files - 1;

	*t = (struct snap_trial){ .base = { .sim = sim_new(chain->how.seed),
					    .may_fail = m->bend,
					    .look = look,
					    .look_arg = m } };
	sim_chain_put(chain, t->base.sim);
	t->job.kind = SNAP_COMMIT;
	t->job.top = which == 2;
	t->job.base = which ? last : 1;
	t->job.flags = BPULL_JOB_VERIFY;
	snprintf(t->base.what, sizeof(t->base.what), "seed %" PRIu64 ", job %u, bend %d",
		 chain->how.seed, which, (int)m->bend);
	snap_trial_begin(t, chain, chain->want, names);
	cr_assert_eq(snap_trial_live(t), 0, "%s", t->base.what);
}

static void end(struct snap_trial *t)
{
	snap_trial_end(t);
	sim_free(t->base.sim);
}

static unsigned n_done, n_refused, n_found;
static uint64_t n_rounds, n_verified;

static void judge_right(const struct snap_trial *t, const struct medium *m)
{
	const struct bpull_job_info *info = &t->base.end_info;

	n_refused += t->job.was_refused;
	if (t->job.was_refused)
		return;
	cr_assert(t->base.completed, "%s: %s", t->base.what, t->base.end_message);
	cr_assert_eq(info->verified_bytes, info->copied_bytes, "%s: %" PRIu64 " of %" PRIu64,
		     t->base.what, info->verified_bytes, info->copied_bytes);
	n_done++;
	n_rounds += m->n_rounds;
	n_verified += info->verified_bytes;
}

static void judge_bent(const struct snap_trial *t, const struct sim_chain *chain,
		       const struct medium *m)
{
	char offset[32];

	if (!m->done)
		return;
	snprintf(offset, sizeof(offset), "offset %#llx", (unsigned long long)m->guest_off);
	cr_assert(!t->base.completed, "%s: not found", t->base.what);
	cr_assert_eq(t->base.end_error, -EBADMSG, "%s: %s", t->base.what, t->base.end_message);
	cr_assert(strstr(t->base.end_message, chain->files[t->job.base].name) &&
			  (m->bend == LOSE_ENTRY || strstr(t->base.end_message, offset)),
		  "%s: %s, not %s", t->base.what, t->base.end_message, offset);
	n_found++;
}

/* So many are run, and it is of them that the tests ask how much was met. */
static uint64_t n_chains(uint64_t n)
{
	return sim_pull_env("CHAIN_SEEDS", n);
}

static void each_chain(uint64_t n, enum bend bend)
{
	uint64_t first = sim_pull_env("CHAIN_SEED", 1);

	for (uint64_t seed = first; seed < first + n; seed++) {
		struct sim_chain_how how = kinds[seed % ARRAY_LEN(kinds)];
		struct sim_chain chain;

		how.seed = seed;
		sim_chain_draw(&chain, &how);
		for (unsigned which = 0; which < 3 && chain.n_files > 2; which++) {
			struct medium m = { .seed = seed, .bend = bend };
			struct snap_trial t;

			commit(&chain, which, &m, &t);
			if (bend)
				judge_bent(&t, &chain, &m);
			else
				judge_right(&t, &m);
			snap_trial_judge_cuts(&t, "at the end", seed);
			end(&t);
		}
		sim_chain_free(&chain);
	}
}

Test(commit_verify, what_is_right_is_all_read_back)
{
	uint64_t n = n_chains(EFFORT(80));

	each_chain(n, BEND_NOTHING);
	cr_assert(n < 20 || (n_done > n_refused && n_rounds > n_done && n_verified),
		  "%u done, %u refused, %" PRIu64 " rounds", n_done, n_refused, n_rounds);
}

Test(commit_verify, what_the_medium_bends_is_found)
{
	uint64_t n = n_chains(EFFORT(60));

	for (enum bend bend = BEND_BIT; bend < N_BENDS; bend++) {
		n_found = 0;
		each_chain(n, bend);
		cr_assert(n < 20 || n_found > n / 8, "bend %d: %u of %" PRIu64, (int)bend, n_found,
			  n);
	}
}
