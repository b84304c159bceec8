/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The end of a commit of the image itself: what is owed to each of the two images then. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "engine/core/disk.h"
#include "tests/machine/sim_chains.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(120);
TestSuite(commit_ends, .timeout = TIME_LIMIT_CLOCK(120));

static struct bpull_disk *open_top(struct sim *sim, const struct sim_chain *chain,
				   struct bpull_engine **engine)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)chain->how.format,
					.backing_trust = BPULL_TRUST_ALL,
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_disk *disk;
	struct bpull_error error;

	cr_assert_eq(engine_open_on(sim_io(sim), sim_opener(sim), SIM_PULL_MEMORY, engine), 0);
	cr_assert_eq(bpull_disk_open(*engine, SIM_CHAIN_TOP, &o, &disk, &error), 0, "%s",
		     error.message);
	return disk;
}

/* Until an event of this type comes; `look` at the disk before each round. */
static void run_until(struct bpull_engine *engine, enum bpull_event_type type,
		      struct bpull_disk *disk, void (*look)(struct bpull_disk *disk))
{
	for (unsigned i = 0; i < 100000; i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(engine), .events = POLLIN };
		struct bpull_event event;
		int n;

		if (look)
			look(disk);
		n = bpull_engine_process(engine, &event, 1);
		cr_assert_geq(n, 0);
		if (n && event.type == type) {
			cr_assert_eq(event.error, 0, "%s", event.message);
			return;
		}
		cr_assert(n || poll(&ready, 1, 10000) == 1);
	}
	cr_assert_fail("no end");
}

/* Tables below that can't be read have used up all the tries of the lower image. */
static void use_up(struct bpull_disk *disk)
{
	if (disk->job.step != JOB_IDLE)
		disk->job.down.n_settles.below = 32;
}

static void judge_kept(const struct sim_chain *chain, struct sim *sim, uint64_t off, uint64_t len)
{
	struct sim *left = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_ALL_LOST });
	uint8_t *got = sim_need(malloc(chain->guest_len));
	struct sim_verdict v;

	sim_pull_read_head(chain, left, SIM_CHAIN_TOP, chain->how.format, got, &v);
	cr_assert(v.ok, "seed %" PRIu64 ": %s", chain->how.seed, v.text);
	for (uint64_t at = off; at < off + len; at++)
		cr_assert_eq(got[at], 0x5c, "seed %" PRIu64 ": byte %" PRIu64 " is %#x",
			     chain->how.seed, at, got[at]);
	free(got);
	sim_free(left);
}

/* False: this chain can't be committed. */
static bool commit_and_keep(const struct sim_chain *chain)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .type = BPULL_JOB_TYPE_COMMIT,
				       .flags = BPULL_JOB_KEEP };
	uint64_t off = chain->guest_len / 3, len = chain->guest_len / 4;
	uint8_t *bytes = sim_need(malloc(len));
	struct sim *sim = sim_new(chain->how.seed);
	struct bpull_engine *engine;
	struct bpull_error error;
	struct bpull_disk *disk;
	struct iovec iov = { bytes, len };
	int rc;

	memset(bytes, 0x5c, len);
	sim_chain_put(chain, sim);
	disk = open_top(sim, chain, &engine);
	bpull_write(disk, &iov, 1, off, 0, NULL); /* not flushed */
	run_until(engine, BPULL_EVENT_IO, disk, NULL);
	rc = bpull_job_start(disk, &o, &error);
	cr_assert(!rc || rc == -EINVAL || rc == -ENOTSUP, "%s", error.message);
	if (!rc) {
		run_until(engine, BPULL_EVENT_JOB, disk, use_up);
		judge_kept(chain, sim, off, len);
	}
	bpull_engine_close(engine);
	sim_free(sim);
	free(bytes);
	return !rc;
}

/* It is its owner's from then on, with all that the guest had written to it. */
Test(commit_ends, the_image_that_is_kept_is_durable_whatever_the_lower_one_took)
{
	uint64_t n = EFFORT(20), n_done = 0;

	for (uint64_t seed = 1; seed <= n; seed++) {
		struct sim_chain_how how = { SIM_V3(9, 16), SIM_SIZE(40, 2), .seed = seed };
		struct sim_chain chain;

		sim_chain_draw(&chain, &how);
		n_done += chain.n_files > 1 && commit_and_keep(&chain);
		sim_chain_free(&chain);
	}
	cr_assert_gt(n_done, n / 4, "%" PRIu64 " of %" PRIu64, n_done, n);
}

/* ---- a lower image that can't be written to ---- */

static void run_rounds(struct bpull_engine *engine, struct bpull_event *end)
{
	for (unsigned i = 0; i < 100000; i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(engine), .events = POLLIN };
		struct bpull_event event;

		if (bpull_engine_process(engine, &event, 1) != 1)
			cr_assert_eq(poll(&ready, 1, 10000), 1);
		else if (event.type == BPULL_EVENT_JOB) {
			*end = event;
			return;
		}
	}
	cr_assert_fail("no end");
}

static void judge_guest(const struct sim_chain *chain, struct bpull_disk *disk)
{
	uint8_t *got = sim_need(malloc(chain->guest_len));

	struct iovec iov = { got, chain->guest_len };

	bpull_read(disk, &iov, 1, 0, NULL);
	run_until(disk->engine, BPULL_EVENT_IO, disk, NULL);
	for (uint64_t at = 0; at < chain->guest_len; at++)
		cr_assert_eq(got[at], chain->want[at], "seed %" PRIu64 ": byte %" PRIu64,
			     chain->how.seed, at);
	free(got);
}

/* The n-th write to the lower image fails, and all after it. True: the job has failed of it. */
static bool fail_write(const struct sim_chain *chain, enum sim_op op, uint64_t nth)
{
	struct bpull_job_options o = { .size = sizeof(o), .type = BPULL_JOB_TYPE_COMMIT };
	struct sim *sim = sim_new(chain->how.seed);
	const struct layer *lower;
	struct bpull_event end = { 0 };
	struct bpull_engine *engine;
	struct bpull_error error;
	struct bpull_disk *disk;
	int rc;

	sim_chain_put(chain, sim);
	disk = open_top(sim, chain, &engine);
	rc = bpull_job_start(disk, &o, &error);
	if (!rc) {
		sim_fail(sim, &(struct sim_fault){ .op = op,
						   .nth = nth,
						   .error = -EIO,
						   .forever = true,
						   .name = chain->files[1].name });
		run_rounds(engine, &end);
		for (unsigned i = 0; disk->nodes.n && i < 1000; i++)
			bpull_engine_process(engine, NULL, 0);
		sim_clear_faults(sim);
		lower = disk->chain->layers[end.error ? 1 : 0];
		cr_assert(!disk->nodes.n && (!end.error || !lower->file->writable),
			  "seed %" PRIu64 ", write %" PRIu64 ": it is being written still",
			  chain->how.seed, nth);
		judge_guest(chain, disk);
		rc = bpull_job_start(disk, &o, &error);
		cr_assert(!rc || rc == -EIO || !end.error || rc == -EINVAL, "%d: %s", rc,
			  error.message);
	}
	bpull_engine_close(engine);
	sim_free(sim);
	return end.error;
}

/* Others may have it as soon as the job is over. */
Test(commit_ends, a_lower_image_that_could_not_be_written_to_is_let_go)
{
	unsigned n_failed = 0;

	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct sim_chain_how how = { SIM_V3(9, 16), SIM_SIZE(40, 2), .seed = seed };
		struct sim_chain chain;

		sim_chain_draw(&chain, &how);
		for (uint64_t nth = 1; chain.n_files > 1 && nth < 12; nth++) {
			n_failed += fail_write(&chain, SIM_WRITE, nth);
			n_failed += fail_write(&chain, SIM_SYNC, (nth + 2) / 3);
		}
		sim_chain_free(&chain);
	}
	cr_assert_gt(n_failed, 16);
}

/* The node is the first disk that the engine knows, and none that the program has opened. */
Test(commit_ends, an_engine_is_closed_while_a_commit_runs)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct sim_chain_how how = { SIM_V3(9, 16), SIM_SIZE(40, 2), .seed = seed };
		struct bpull_job_options o = { .size = sizeof(o), .type = BPULL_JOB_TYPE_COMMIT };
		struct sim *sim = sim_new(seed);
		struct bpull_engine *engine;
		struct bpull_error error;
		struct bpull_disk *disk;
		struct sim_chain chain;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		disk = open_top(sim, &chain, &engine);
		bpull_job_start(disk, &o, &error);
		bpull_engine_close(engine);
		disk = open_top(sim, &chain, &engine);
		judge_guest(&chain, disk);
		bpull_engine_close(engine);
		sim_free(sim);
		sim_chain_free(&chain);
	}
}

/* ---- an image with a data file ---- */

/* The old image, which is empty, reads what the guest has written to the new one. */
static void judge_emptied(const struct sim_chain *chain, struct sim *sim)
{
	uint8_t *got = sim_need(malloc(chain->guest_len));
	struct sim_verdict v;

	sim_pull_read_head(chain, sim, SIM_CHAIN_TOP, IMAGE_QCOW2, got, &v);
	cr_assert(v.ok, "%s", v.text);
	for (uint64_t at = 100; at < 1100; at++)
		cr_assert_eq(got[at], 0x5c, "byte %" PRIu64, at);
	free(got);
}

/* The first table that is cleared is the image's, not what its data file begins with. */
Test(commit_ends, an_image_with_a_data_file_is_emptied)
{
	struct sim_chain_how how = { SIM_V3(9, 16), SIM_SIZE(40, 1), .data_file = true, .seed = 3 };
	struct bpull_job_options o = { .size = sizeof(o), .type = BPULL_JOB_TYPE_COMMIT };
	struct bpull_event end = { 0 };
	struct bpull_engine *engine;
	struct bpull_error error;
	struct bpull_disk *disk;
	struct sim_chain chain;
	uint8_t bytes[1000];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct sim *sim = sim_new(1);

	sim_chain_draw(&chain, &how);
	sim_chain_put(&chain, sim);
	disk = open_top(sim, &chain, &engine);
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	run_rounds(engine, &end);
	cr_assert_eq(end.error, 0);
	cr_assert_str_empty(end.message);
	memset(bytes, 0x5c, sizeof(bytes));
	bpull_write(disk, &iov, 1, 100, 0, NULL);
	run_until(engine, BPULL_EVENT_IO, disk, NULL);
	bpull_engine_close(engine);
	judge_emptied(&chain, sim);
	sim_free(sim);
	sim_chain_free(&chain);
}
