/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the proof is worth. A disk said that a table entry is written and durable,
 * and has it no more when the tables are read again: then the link may not go
 * before the data was copied once more, whether this job copied it or one before.
 *
 *   SIM_SEEDS=n SIM_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "formats/core/layer_shared.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(600);
TestSuite(proof, .timeout = TIME_LIMIT_CLOCK(600));

static struct {
	const struct sim_chain *chain;
	const struct layer_ops *ops; /* the format's own */
	struct layer_ops with_loss;
	struct layer_shared_ops shared_with_loss;
	bool lost, aborted;
} scene;

/* Of the L2 table at l2_off the first entry that the overlay did not have before. */
static bool lose_one_of(struct qcow2 *q, uint64_t l2_off)
{
	static const uint8_t none[8];
	const struct sim_chain_file *before = &scene.chain->files[0];

	for (uint64_t at = l2_off; at < l2_off + q->layer.cluster_len; at += 8) {
		uint8_t entry[8];

		cr_assert_eq(file_read_padded(q->layer.file, entry, 8, at), 0);
		if (!(be64(entry) & QCOW2_OFF_MASK) ||
		    (at < before->len && be64(before->bytes + at)))
			continue;
		cr_assert_eq(file_write(q->layer.file, none, 8, at), 0);
		return true;
	}
	return false;
}

/* Called when all is durable, right before the tables are read for the proof. */
static int lose_entry(struct layer *layer, void *state, struct err *err)
{
	struct qcow2 *q = qcow2_of(layer);

	for (uint32_t i = 0; !scene.lost && i < q->hdr.l1_size; i++) {
		uint8_t entry[8];

		cr_assert_eq(file_read_padded(layer->file, entry, 8, q->hdr.l1_off + 8 * i), 0);
		if (be64(entry) & QCOW2_OFF_MASK)
			scene.lost = lose_one_of(q, be64(entry) & QCOW2_OFF_MASK);
	}
	return scene.ops->shared->reread(layer, state, err);
}

static void abort_half_way(struct sim_pull *pull, void *arg)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(pull->disk, &info);
	if (!scene.aborted && info.copied_bytes)
		scene.aborted = bpull_job_abort(pull->disk) == 0;
}

static void pull_and_lose(uint64_t seed, bool in_second_job, uint64_t *n_lost)
{
	struct sim_chain_how how = { .seed = seed, .format = IMAGE_QCOW2, .n_clusters = 100 };
	struct sim *sim = sim_new(seed);
	struct sim_pull pull = { 0 };
	struct sim_verdict v;
	struct sim_chain chain;
	struct layer *overlay;

	sim_chain_draw(&chain, &how);
	sim_chain_put(&chain, sim);
	cr_assert_eq(sim_pull_open(&pull, &chain, sim, NULL, SIM_PULL_MEMORY, 0), 0);
	memset(&scene, 0, sizeof(scene));
	scene.chain = &chain;
	if (in_second_job) {
		pull.look = abort_half_way;
		cr_assert_eq(sim_pull_run(&pull), 0);
		pull.look = NULL;
	}
	overlay = disk_overlay(pull.disk);
	scene.ops = overlay->ops;
	scene.with_loss = *overlay->ops;
	scene.shared_with_loss = *overlay->ops->shared;
	scene.shared_with_loss.reread = lose_entry;
	scene.with_loss.shared = &scene.shared_with_loss;
	overlay->ops = &scene.with_loss;
	cr_assert_eq(sim_pull_run(&pull), 0);
	cr_assert_eq(pull.status, BPULL_JOB_COMPLETED, "seed %" PRIu64 ": %s: %s", seed, chain.text,
		     pull.message);
	overlay->ops = scene.ops;
	sim_pull_close(&pull);
	sim_pull_judge(&chain, sim, &v);
	cr_assert(v.ok, "seed %" PRIu64 ": %s: %s", seed, chain.text, v.text);
	cr_assert(!v.has_backing);
	*n_lost += scene.lost;
	sim_chain_free(&chain);
	sim_free(sim);
}

static void pull_seeds(bool in_second_job)
{
	uint64_t first = sim_pull_env("SIM_SEED", 1), n = sim_pull_env("SIM_SEEDS", EFFORT(60)),
		 n_lost = 0;

	for (uint64_t seed = first; seed < first + n; seed++)
		pull_and_lose(seed, in_second_job, &n_lost);
	cr_assert(n < EFFORT(50) || n_lost > n / 4, "%" PRIu64 " of %" PRIu64, n_lost, n);
}

Test(proof, what_this_job_copied_is_looked_at_on_the_disk)
{
	pull_seeds(false);
}

Test(proof, what_an_earlier_job_copied_is_looked_at_on_the_disk)
{
	pull_seeds(true);
}
