/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The space that a guest's writes take and let go, in the simulated machine, in
 * orders that drawn requests hardly ever come to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/guest/request.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer_guest.h"
#include "tests/machine/sim_job.h"

TestSuite(guest_space, .timeout = 300);

/* The first of the guest's clusters, all of it, that the overlay holds as data (or, depth 1, that
 * no layer holds), from `from` on; UINT64_MAX: there is none. */
static uint64_t find(struct sim_job *j, uint64_t from, enum extent_kind kind, unsigned depth)
{
	struct chain *chain = j->guest.disk->chain;
	uint32_t cluster_len = j->chain->cluster_len;

	for (uint64_t off = from; off + cluster_len <= j->chain->guest_len; off += cluster_len) {
		struct table_need need;
		struct extent e;
		int rc;

		while ((rc = chain_map(chain, 0, off, cluster_len, &e, &need)) == TABLE_NEED)
			cr_assert_eq(table_load_now(j->engine->cache, &need), 0);
		cr_assert_eq(rc, 0);
		if (e.kind == kind && e.len == cluster_len && !!e.depth == !!depth)
			return off;
	}
	return UINT64_MAX;
}

/* Before the machine looks what is on its way: else time goes on to what is held back. */
static void begin(struct sim_job *j)
{
	op_run_ready(j->engine);
	io_kick(j->engine->io);
}

static void run_commit(struct sim_job *j)
{
	commit_begin(j->guest.disk, COMMIT_HARD);
	begin(j);
	while (commit_is_running(j->guest.disk))
		sim_job_round(j);
}

/*
 * A read has found where its bytes lie and is on its way, longer than anything
 * else. A discard that was there before it lets that space go, the commit makes
 * that durable, and no other request has come: the read is the youngest. What is
 * written next must not get the space.
 */
static bool youngest_read(uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 12,
				     .n_clusters = 24 };
	struct sim_job j = { .seed = seed, .with_guest = true };
	struct sim_chain chain;
	uint64_t held, none, n;

	snprintf(j.what, sizeof(j.what), "seed %" PRIu64, seed);
	sim_chain_draw(&chain, &how);
	j.chain = &chain;
	sim_job_open(&j);
	held = find(&j, 0, EXTENT_DATA, 0);
	none = find(&j, 0, EXTENT_ZERO, 1);
	if (held != UINT64_MAX && none != UINT64_MAX) {
		sim_knobs(j.sim)->hold_ops = 1u << SIM_READ;
		sim_knobs(j.sim)->hold_permille = 1000;
		n = chain.cluster_len;
		/* The first that changes anything waits for the header. */
		sim_guest_submit(&j.guest, &(struct sim_guest_request){ .kind = SIM_GUEST_DISCARD,
									.off = held,
									.len = n });
		sim_guest_submit(&j.guest, &(struct sim_guest_request){
						   .kind = SIM_GUEST_READ, .off = held, .len = n });
		while (j.guest.n_in_flight > 1)
			sim_job_round(&j);
		sim_job_assert(&j,
			       j.guest.disk->guests.first &&
				       j.guest.disk->guests.first->kind == GUEST_READ,
			       "the read did not wait");
		sim_knobs(j.sim)->hold_permille = 0;
		run_commit(&j);
		sim_job_assert(&j, j.guest.n_in_flight == 1, "the read did not wait for long");
		sim_guest_submit(&j.guest, &(struct sim_guest_request){ .kind = SIM_GUEST_WRITE,
									.off = none,
									.len = n,
									.value = 0xe1 });
		while (j.guest.n_in_flight > 1)
			sim_job_round(&j);
		sim_job_run_guest(&j);
	}
	sim_job_close_judged(&j, false);
	sim_job_free(&j);
	sim_chain_free(&chain);
	return held != UINT64_MAX && none != UINT64_MAX;
}

Test(guest_space, the_youngest_read_keeps_what_it_reads)
{
	unsigned n_tried = 0;

	for (uint64_t seed = 1; seed <= 40; seed++)
		n_tried += youngest_read(seed);
	cr_assert_geq(n_tried, 5, "%u of 40", n_tried);
}

/* Of a new cluster the request alone is written, where all around it reads zeros: but the file has
 * all of it. */
static bool sparse_write(uint64_t seed, uint32_t off, uint32_t len)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 16,
				     .n_clusters = 8 };
	struct sim_job j = { .seed = seed, .with_guest = true };
	struct sim_chain chain;
	uint64_t none;

	snprintf(j.what, sizeof(j.what), "seed %" PRIu64 ", %u bytes at %u", seed, len, off);
	sim_chain_draw(&chain, &how);
	j.chain = &chain;
	sim_job_open(&j);
	none = find(&j, 0, EXTENT_ZERO, 1);
	if (none != UINT64_MAX) {
		sim_guest_submit(&j.guest, &(struct sim_guest_request){ .kind = SIM_GUEST_WRITE,
									.off = none + off,
									.len = len,
									.value = 0xe1 });
		sim_guest_submit(&j.guest, &(struct sim_guest_request){ .kind = SIM_GUEST_FLUSH });
		sim_job_run_guest(&j);
	}
	/* The judge asks whether each entry leads into the file. */
	sim_job_close_judged(&j, false);
	sim_job_free(&j);
	sim_chain_free(&chain);
	return none != UINT64_MAX;
}

Test(guest_space, the_file_has_all_of_a_cluster_that_is_written_in_part)
{
	static const uint32_t cases[][2] = {
		{ 0, 512 },      { 0, 1 },        { 1000, 3000 },
		{ 60000, 5000 }, { 61440, 4096 }, { 65535, 1 },
	};
	unsigned n_tried = 0;

	for (uint64_t seed = 1; seed <= 12; seed++)
		for (size_t i = 0; i < ARRAY_LEN(cases); i++)
			n_tried += sparse_write(seed, cases[i][0], cases[i][1]);
	cr_assert_geq(n_tried, 12, "%u", n_tried);
}

/* A run that writes: its entries are still to be made. */
static const struct copy_run *writing_run(const struct sim_job *j)
{
	const struct copy_run *p = j->guest.disk->walk->runs.first;

	while (p && (p->phase != COPY_RUN_PUBLISH || !p->op.n_pending))
		p = p->next;
	return p;
}

static bool is_shared(struct sim_job *j, uint64_t off)
{
	struct layer *overlay = disk_overlay(j->guest.disk);
	struct write_extent e;
	struct table_need need;
	int rc = layer_map_write(overlay, off, 1, &e, &need);

	return rc || e.kind == WRITE_SHARED; /* a table that is not at hand was not changed */
}

/*
 * The guest shares its table with snapshots, and writes where no run is: the
 * table must not become its own while a run is about to make entries in it, or
 * some of the disks get none.
 */
static bool unshare_beside_a_run(uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 9,
				     .refcount_bits = 1u << (1 + seed % 4),
				     .n_clusters = 48,
				     .max_depth = 1,
				     .n_snapshots = 2 };
	struct sim_job j = { .seed = seed, .with_guest = true };
	struct sim_chain chain;
	bool tried = false;
	uint64_t held;

	snprintf(j.what, sizeof(j.what), "seed %" PRIu64, seed);
	sim_chain_draw(&chain, &how);
	j.chain = &chain;
	sim_job_open(&j);
	held = find(&j, 0, EXTENT_DATA, 0);
	if (held != UINT64_MAX && is_shared(&j, held)) {
		sim_knobs(j.sim)->hold_ops = 1u << SIM_WRITE;
		sim_knobs(j.sim)->hold_permille = 1000;
		cr_assert_eq(sim_job_start(&j), 0);
		while (sim_job_is_running(&j) && !writing_run(&j))
			sim_job_round(&j);
		if (writing_run(&j)) {
			tried = true;
			sim_guest_submit(&j.guest,
					 &(struct sim_guest_request){ .kind = SIM_GUEST_WRITE,
								      .off = held,
								      .len = 100,
								      .value = 0xe1 });
			begin(&j);
		}
		while (writing_run(&j)) {
			sim_job_assert(&j, is_shared(&j, held),
				       "the table changes under a run that writes");
			sim_job_round(&j);
		}
		sim_knobs(j.sim)->hold_permille = 0;
		sim_job_run(&j);
		sim_job_assert(&j, j.status == BPULL_JOB_COMPLETED, "%s", j.message);
		sim_job_run_guest(&j);
		sim_job_close_judged(&j, true);
	}
	sim_job_free(&j);
	sim_chain_free(&chain);
	return tried;
}

Test(guest_space, a_table_stays_shared_while_runs_fill_it)
{
	unsigned n_tried = 0;

	for (uint64_t seed = 1; seed <= 40; seed++)
		n_tried += unshare_beside_a_run(seed);
	cr_assert_geq(n_tried, 5, "%u of 40", n_tried);
}
