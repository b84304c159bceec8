/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See crash_cuts.h. Of what a moment could leave, the structured states come
 * first (nothing, everything, first, last, prefixes, data without tables, the
 * header alone), then all subsets of a few table writes or random ones of
 * many: the bugs worth finding show in one state of hundreds, and those are
 * subsets of tables. A state seen before is not judged again.
 */
#include "tests/whole/crash_cuts.h"

#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/machine/sim_pull_qemu.h"

#define ALL_SUBSETS_OF 6  /* table writes: 2^6 subsets, with and without data */
#define N_SUBSETS      24 /* of more */
#define QEMU_EVERY     200

static uint64_t roll(struct crash_cuts *cuts, uint64_t below)
{
	uint64_t z = (cuts->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

void crash_cuts_init(struct crash_cuts *cuts, const struct sim_chain *chain, struct sim *sim,
		     const struct crash_io *io)
{
	*cuts = (struct crash_cuts){ .chain = chain, .sim = sim, .io = io, .rng = chain->how.seed };
}

void crash_cuts_free(struct crash_cuts *cuts)
{
	free(cuts->seen);
	cuts->seen = NULL;
}

static void seen_put(uint64_t *seen, size_t cap, uint64_t hash)
{
	size_t at = hash & (cap - 1);

	while (seen[at])
		at = (at + 1) & (cap - 1);
	seen[at] = hash;
}

/* This state was not seen before; it is noted. */
static bool is_new(struct crash_cuts *cuts, uint64_t hash)
{
	hash |= 1;
	for (size_t at = hash; cuts->seen_cap && cuts->seen[at & (cuts->seen_cap - 1)]; at++)
		if (cuts->seen[at & (cuts->seen_cap - 1)] == hash)
			return false;
	if (2 * cuts->n_seen >= cuts->seen_cap) {
		size_t cap = MAX(2 * cuts->seen_cap, (size_t)4096);
		uint64_t *seen = calloc(cap, sizeof(*seen));

		if (!seen)
			abort();
		for (size_t i = 0; i < cuts->seen_cap; i++)
			if (cuts->seen[i])
				seen_put(seen, cap, cuts->seen[i]);
		free(cuts->seen);
		cuts->seen = seen;
		cuts->seen_cap = cap;
	}
	seen_put(cuts->seen, cuts->seen_cap, hash);
	cuts->n_seen++;
	return true;
}

/* ---- one state ---- */

static void bad(struct crash_cuts *cuts, const struct sim_cut *how, const char *what,
		const struct sim_verdict *v)
{
	if (cuts->n_bad++)
		return;
	snprintf(cuts->bad, sizeof(cuts->bad),
		 "seed %" PRIu64 ", operation %" PRIu64 ", state %" PRIu64
		 ", cut mode %d seed %" PRIu64 ", n %zu%s: %s: %s",
		 cuts->chain->how.seed, sim_n_all_ops(cuts->sim), cuts->n_states, (int)how->mode,
		 how->seed, how->n, how->tear_last ? ", torn" : "", what, v->text);
}

/* Clusters: what is unsettled, an L2 table for each at most, a few refcount blocks, and a refcount
 * table, old or new, where it moves. What lies behind the file's end is counted only when the file
 * has grown again, so a state and the pull after it have one bound. */
static uint64_t max_leaks(const struct crash_cuts *cuts)
{
	uint64_t len = crash_io_unsettled_len(cuts->io);

	/* A compressed cluster has a sector at least, and may lie alone in its host cluster. */
	uint64_t each = cuts->chain->how.compression ? 512 : cuts->chain->cluster_len;

	/* Clones are no writes of the backend, which counts them: at most all of the disk, with
	 * tables. */
	uint64_t cloned =
		cuts->chain->how.clone == SIM_CLONE_WORKS ? cuts->chain->guest_len / each : 0;

	return 2 * (len / each + cloned) + 8 + (cuts->chain->how.full_table ? 16 : 0);
}

static void resume(struct crash_cuts *cuts, const struct sim_cut *how, struct sim *left)
{
	struct sim_verdict v = { 0 };
	struct sim_pull pull;
	int rc = sim_pull_whole(cuts->chain, left, SIM_PULL_MEMORY, 0, &pull);

	cuts->n_resumed++;
	if (rc) {
		snprintf(v.text, sizeof(v.text), "%s %.200s%.200s", strerror(-rc),
			 pull.error.message, pull.message);
		bad(cuts, how, "pulling again fails", &v);
		return;
	}
	sim_pull_judge(cuts->chain, left, &v);
	if (!v.ok)
		bad(cuts, how, "pulled again", &v);
	else if (v.has_backing)
		bad(cuts, how, "pulled again, the link is still there", &v);
	else if (v.n_leaks)
		bad(cuts, how, "pulled again, and leaks are left", &v);
	cuts->max_compressed = MAX(cuts->max_compressed, v.n_compressed);
}

static void judge_qemu(struct crash_cuts *cuts, const struct sim_cut *how, struct sim *left)
{
	struct sim_verdict v;
	bool ran;

	sim_pull_qemu(cuts->chain, left, cuts->dir, &v, &ran);
	cuts->n_qemu += ran;
	if (!v.ok)
		bad(cuts, how, "qemu-img", &v);
}

static void judge(struct crash_cuts *cuts, const struct sim_cut *how, struct sim *left)
{
	struct sim_verdict v;

	cuts->n_states++;
	sim_pull_judge(cuts->chain, left, &v);
	cuts->max_leaks = MAX(cuts->max_leaks, v.n_leaks);
	if (!v.ok)
		bad(cuts, how, "after the cut", &v);
	else if (cuts->completed && v.has_backing)
		bad(cuts, how, "COMPLETED was reported, the link is still there", &v);
	else if (v.n_leaks > max_leaks(cuts))
		bad(cuts, how, "too much leaked", &v);
	if (!v.ok)
		return;
	if (cuts->dir && roll(cuts, sim_pull_env("CRASH_QEMU", QEMU_EVERY)) == 0)
		judge_qemu(cuts, how, left);
	if (cuts->resume)
		resume(cuts, how, left);
}

void crash_cuts_try(struct crash_cuts *cuts, const struct sim_cut *how)
{
	struct sim *left;

	if (cuts->n_bad && cuts->stop_at_bad)
		return;
	left = sim_cut(cuts->sim, how);
	cuts->n_cuts++;
	if (is_new(cuts, sim_pull_hash(cuts->chain, left) ^
				 cuts->completed * UINT64_C(0x9e3779b97f4a7c16)))
		judge(cuts, how, left);
	sim_free(left);
}

/* ---- the states of a moment ---- */

static void try_mode(struct crash_cuts *cuts, enum sim_cut_mode mode, size_t n, bool tear)
{
	struct sim_cut how = {
		.mode = mode, .seed = roll(cuts, UINT64_MAX), .tear_last = tear, .n = n
	};

	crash_cuts_try(cuts, &how);
}

/* Which writes are kept: by what they are, then by a mask over the tables. */
struct choice {
	const struct crash_io *io;
	bool keep_data, only_header;
	uint64_t mask;
	uint64_t n_tables; /* met so far */
};

static bool chosen(void *arg, const char *name, uint64_t off, uint64_t len)
{
	struct choice *c = arg;

	if (!crash_io_is_table(c->io, off))
		return c->keep_data;
	if (c->only_header)
		return off < 512;
	return c->mask >> (c->n_tables++ % 64) & 1;
}

static void try_choice(struct crash_cuts *cuts, struct choice *choice, bool tear)
{
	struct sim_cut how = {
		.mode = SIM_CUT_CHOSEN,
		.seed = roll(cuts, UINT64_MAX),
		.tear_last = tear,
		.keep = chosen,
		.arg = choice,
	};

	choice->io = cuts->io;
	choice->n_tables = 0;
	crash_cuts_try(cuts, &how);
}

static void try_subsets(struct crash_cuts *cuts, uint64_t n_tables)
{
	bool all = n_tables <= ALL_SUBSETS_OF;
	uint64_t n = all ? UINT64_C(1) << n_tables : N_SUBSETS;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t mask = all ? i : roll(cuts, UINT64_MAX);

		for (int keep_data = 0; keep_data < 2; keep_data++) {
			struct choice choice = { .keep_data = keep_data, .mask = mask };

			try_choice(cuts, &choice, !all && i % 2);
		}
	}
}

void crash_cuts_look(void *arg)
{
	struct crash_cuts *cuts = arg;
	struct choice tables = { .mask = UINT64_MAX }, data = { .keep_data = true };
	struct choice header = { .only_header = true };
	size_t n = sim_n_uncertain(cuts->sim);
	uint64_t signature;

	try_mode(cuts, SIM_CUT_ALL_LOST, 0, false);
	try_mode(cuts, SIM_CUT_ALL_KEPT, 0, false);
	if (!n)
		return;
	try_mode(cuts, SIM_CUT_ALL_KEPT, 0, true);
	try_mode(cuts, SIM_CUT_ONLY_LAST, 0, false);
	try_mode(cuts, SIM_CUT_ONLY_FIRST, 0, false);
	try_mode(cuts, SIM_CUT_PREFIX, roll(cuts, n + 1), false);
	try_mode(cuts, SIM_CUT_PREFIX, roll(cuts, n + 1), true);
	try_mode(cuts, SIM_CUT_ALL_BUT, roll(cuts, n), false);
	try_mode(cuts, SIM_CUT_RANDOM, 0, false);
	try_mode(cuts, SIM_CUT_RANDOM, 0, false);
	try_choice(cuts, &tables, false); /* last: it counts them */
	try_choice(cuts, &data, false);
	try_choice(cuts, &header, false);
	signature = cuts->io->n_syncs << 32 | cuts->io->n_table_writes;
	if (cuts->subsets_of != signature)
		try_subsets(cuts, tables.n_tables);
	cuts->subsets_of = signature;
}

int crash_cuts_pull(struct crash_cuts *cuts, struct crash_io *io, uint64_t commit_len)
{
	struct sim_pull pull = { 0 };
	int rc = sim_pull_open(&pull, cuts->chain, cuts->sim, &io->io, SIM_PULL_MEMORY, commit_len);

	if (rc)
		return rc;
	io->cache = pull.engine->cache;
	io->n_commits = &pull.disk->commits.n_begun;
	io->look = crash_cuts_look;
	io->arg = cuts;
	rc = sim_pull_run(&pull);
	cuts->completed = !rc && pull.status == BPULL_JOB_COMPLETED;
	if (!rc)
		rc = pull.event_error;
	crash_cuts_look(cuts);
	io->look = NULL;
	crash_io_settle(io);
	sim_pull_close(&pull);
	return rc;
}
