/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/merge.h, in the simulated machine: merge_write() and
 * merge_flush(). Whatever is merged, each request ends once, with its own
 * length or its error, and its bytes are where it says; what goes on where the
 * last write ends is one write, and nothing else is.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/api/engine.h"
#include "engine/core/disk.h"
#include "engine/core/merge.h"
#include "engine/core/op.h"
#include "engine/job/round.h"
#include "io/base.h"
#include "io/file/opener.h"
#include "tests/machine/files/sim.h"

#define MEMORY   (512 * KiB)
#define FILE_LEN (8 * MiB)
#define MAX_N    200

struct writer {
	struct op op;
	struct io_req req;
	uint8_t *bytes;
	unsigned n_ended;
	int error;
};

struct rig {
	struct sim *sim;
	struct bpull_engine *engine;
	struct file *files[2];
	struct writer writers[MAX_N];
	unsigned n;
};

static enum step end(struct op *op)
{
	((struct writer *)op)->n_ended++;
	return STEP_WAIT;
}

static void fail(struct op *op)
{
	struct writer *w = (struct writer *)op;

	w->n_ended++;
	w->error = op->error;
}

static const struct op_kind writer_kind = { "writer", end, fail };

static struct rig *rig_new(uint64_t seed)
{
	static const char *const names[] = { "/a", "/b" };
	struct rig *rig = calloc(1, sizeof(*rig));
	struct file_opener *opener;
	struct err err;

	rig->sim = sim_new(seed);
	opener = sim_opener(rig->sim);
	cr_assert_eq(engine_open_on(sim_io(rig->sim), opener, MEMORY, &rig->engine), 0);
	for (unsigned i = 0; i < 2; i++) {
		sim_file_put_hole(rig->sim, names[i], FILE_LEN);
		cr_assert_eq(opener->open(opener,
					  &(struct file_open){ .name = names[i], .write = true },
					  &rig->files[i], &err),
			     0);
	}
	return rig;
}

static void rig_end(struct rig *rig)
{
	for (unsigned i = 0; i < rig->n; i++)
		free(rig->writers[i].bytes);
	for (unsigned i = 0; i < 2; i++)
		file_close(rig->files[i]);
	bpull_engine_close(rig->engine);
	sim_free(rig->sim);
	free(rig);
}

static struct writer *add(struct rig *rig, unsigned file, uint64_t off, uint64_t len)
{
	struct writer *w = &rig->writers[rig->n++];

	w->bytes = malloc(len);
	memset(w->bytes, (int)rig->n, len);
	op_init(&w->op, &writer_kind, rig->engine, NULL);
	io_req_write(&w->req, rig->files[file], w->bytes, len, off);
	merge_write(&w->op, &w->req);
	return w;
}

/* How many writes it took. */
static uint64_t run(struct rig *rig)
{
	uint64_t before = sim_n_ops(rig->sim, SIM_WRITE);
	unsigned n_ended = 0;

	merge_flush(rig->engine);
	cr_assert_eq(rig->engine->merging.n, 0);
	for (unsigned i = 0; n_ended < rig->n; i++) {
		cr_assert_lt(i, 10000, "it hangs");
		engine_run(rig->engine);
		n_ended = 0;
		for (unsigned k = 0; k < rig->n; k++)
			n_ended += rig->writers[k].n_ended;
	}
	for (unsigned k = 0; k < rig->n; k++) {
		const struct writer *w = &rig->writers[k];

		cr_assert_eq(w->n_ended, 1);
		cr_assert(w->error || w->req.result == (int64_t)w->req.len);
	}
	return sim_n_ops(rig->sim, SIM_WRITE) - before;
}

static void expect_bytes(struct rig *rig)
{
	static uint8_t got[4 * MiB];

	for (unsigned k = 0; k < rig->n; k++) {
		const struct writer *w = &rig->writers[k];

		sim_file_peek(rig->sim, w->req.file == rig->files[0] ? "/a" : "/b", got, w->req.len,
			      w->req.off);
		cr_assert_eq(memcmp(got, w->bytes, w->req.len), 0, "the bytes of write %u", k);
	}
}

Test(merge, what_goes_on_is_one_write)
{
	struct rig *rig = rig_new(1);

	for (unsigned i = 0; i < 8; i++)
		add(rig, 0, 4096 + 512 * i, 512);
	cr_assert_eq(run(rig), 1);
	expect_bytes(rig);
	rig_end(rig);
}

Test(merge, borders_keep_writes_apart)
{
	struct rig *rig = rig_new(1);

	add(rig, 0, 0, 512);
	add(rig, 0, 513, 511);  /* a byte further */
	add(rig, 0, 1023, 512); /* a byte back: over the last one's end */
	add(rig, 1, 1535, 512); /* goes on, in another file */
	add(rig, 0, 2047, 1);   /* goes on, after that one */
	cr_assert_eq(run(rig), 5);
	rig_end(rig);
}

Test(merge, kinds_are_not_mixed)
{
	struct rig *rig = rig_new(1);

	add(rig, 0, 0, 512);
	add(rig, 0, 512, 512)->req.uncached = true;
	add(rig, 0, 1024, 512)->req.uncached = true;
	add(rig, 0, 1536, 512);
	cr_assert_eq(run(rig), 3);
	expect_bytes(rig);
	rig_end(rig);
}

/* 32 parts and 2 MiB are one write, more are not. */
Test(merge, a_write_is_not_too_large)
{
	struct rig *rig = rig_new(1);

	for (unsigned i = 0; i < 33; i++)
		add(rig, 0, 512 * i, 512);
	cr_assert_eq(run(rig), 2);
	expect_bytes(rig);
	rig_end(rig);

	rig = rig_new(1);
	add(rig, 0, 0, MiB);
	add(rig, 0, MiB, MiB);
	cr_assert_eq(run(rig), 1, "just 2 MiB");
	rig_end(rig);

	rig = rig_new(1);
	add(rig, 0, 0, MiB);
	add(rig, 0, MiB, MiB + 512);
	cr_assert_eq(run(rig), 2);
	expect_bytes(rig);
	rig_end(rig);
}

/* A queue that is full is submitted; the next one begins another. */
Test(merge, more_than_the_queue_holds_are_all_written)
{
	struct rig *rig = rig_new(1);

	for (unsigned i = 0; i < 2 * MERGE_QUEUE + 1; i++)
		add(rig, 0, 1024 * i, 512);
	cr_assert_eq(run(rig), 2 * MERGE_QUEUE + 1);
	expect_bytes(rig);
	rig_end(rig);
}

Test(merge, what_fails_fails_for_all_of_its_parts_and_no_other)
{
	struct rig *rig = rig_new(1);

	for (unsigned i = 0; i < 4; i++)
		add(rig, 0, 512 * i, 512);
	add(rig, 1, 0, 512);
	sim_fail(rig->sim,
		 &(struct sim_fault){ .op = SIM_WRITE, .nth = 1, .error = -ENOSPC, .name = "/a" });
	run(rig);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(rig->writers[i].error, -ENOSPC, "part %u", i);
	cr_assert_eq(rig->writers[4].error, 0);
	rig_end(rig);
}

/* Any order, any lengths, short transfers: the bytes are those of each write. */
Test(merge, anything_is_written_as_it_is_asked_for)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct rig *rig = rig_new(seed);
		uint64_t at[2] = { 0 }, n_writes;

		srand((unsigned)seed);
		cr_log_info("seed %" PRIu64, seed);
		sim_knobs(rig->sim)->short_permille = 300;
		sim_knobs(rig->sim)->retry_permille = 100;
		for (unsigned n = 1 + (unsigned)rand() % 150; n; n--) {
			unsigned file = rand() % 8 == 0;
			uint64_t len = 512 * (1 + (uint64_t)rand() % 40);

			if (rand() % 4 == 0)
				at[file] += 512;
			add(rig, file, at[file], len)->req.uncached = rand() % 16 == 0;
			at[file] += len;
			if (rand() % 20 == 0)
				merge_flush(rig->engine);
		}
		n_writes = run(rig);
		cr_assert(n_writes <= rig->n, "seed %" PRIu64, seed);
		expect_bytes(rig);
		rig_end(rig);
	}
}
