/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A call for events runs no round where reads that ended on the spot are all there is, and runs one
 * wherever something else may be to do: beside a job, after a write, after a wish for another rate,
 * for a program that sleeps on the descriptor, and once in so many calls in any case.
 */
#include <criterion/criterion.h>

#include "engine/core/disk.h"
#include "io/base.h"
#include "io/io.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define DISK_LEN (1 * MiB)
#define LEN      (4 * KiB)
#define N_READS  1000u

TIME_LIMIT(60);
TestSuite(no_round, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static struct io_ops counting;
static const struct io_ops *counted;
static unsigned n_rounds; /* each looks for completions at least once */
static _Alignas(4096) uint8_t want[DISK_LEN], buf[LEN];

static unsigned count_reap(struct io *io, struct io_req **out, unsigned max)
{
	n_rounds++;
	return counted->reap(io, out, max);
}

static void take_end(void)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1);
	cr_assert_eq(event.error, 0);
}

/* Its table is in the cache and its bytes in the page cache. */
static void read_on_the_spot(uint64_t off)
{
	struct iovec iov = { buf, LEN };

	bpull_read(disk, &iov, 1, off, NULL);
	cr_assert(engine->guests.done.first && !engine->guests.n, "it is a request");
	take_end();
	cr_assert_arr_eq(buf, want + off, LEN);
}

static void write_at(uint64_t off)
{
	struct iovec iov = { want + off, LEN };

	bpull_write(disk, &iov, 1, off, 0, NULL);
}

/* All of the disk has space of its own. */
static void start(void)
{
	struct bpull_engine_options eo = { .size = sizeof(eo) };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };
	struct iovec all = { want, DISK_LEN };

	for (uint64_t i = 0; i < DISK_LEN; i++)
		want[i] = (uint8_t)(i >> 9);
	scratch_filled("base.raw", 0x5a, DISK_LEN);
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_engine_open(&eo, &engine, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
	bpull_write(disk, &all, 1, 0, 0, NULL);
	take_end();
	bpull_flush(disk, NULL);
	take_end();
	read_on_the_spot(0);
	counted = engine->io->ops;
	counting = *counted;
	counting.reap = count_reap;
	engine->io->ops = &counting;
	n_rounds = 0;
}

static void end(void)
{
	bpull_disk_close(disk);
	bpull_engine_close(engine);
}

Test(no_round, reads_on_the_spot_are_handed_out_without_one)
{
	start();
	for (unsigned i = 0; i < N_READS; i++)
		read_on_the_spot(i % (DISK_LEN / LEN) * LEN);
	cr_assert_lt(n_rounds, N_READS / 32);
	cr_assert_gt(n_rounds, N_READS / 128, "no round was run for too long");
	end();
}

Test(no_round, beside_a_job_each_call_runs_one)
{
	struct bpull_job_options job = { .size = sizeof(job), .flags = BPULL_JOB_START_PAUSED };
	struct bpull_error error = { 0 };

	start();
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	read_on_the_spot(0);
	n_rounds = 0;
	for (unsigned i = 0; i < N_READS; i++)
		read_on_the_spot(i % (DISK_LEN / LEN) * LEN);
	cr_assert_geq(n_rounds, N_READS);
	end();
}

/* What it has written may have made a commit due. */
Test(no_round, after_a_write_the_next_call_runs_one)
{
	start();
	disk_overlay(disk)->data->now.always = false;
	disk_overlay(disk)->data->now.no_writes = true; /* the ring does not begin it, either */
	for (unsigned i = 0; i < N_READS; i++) {
		read_on_the_spot(0);
		n_rounds = 0;
		disk->guests.calm = (struct calm){ 0 };
		write_at(LEN);
		cr_assert(engine->guests.done.first, "it is a request");
		take_end();
		cr_assert_gt(n_rounds, 0);
	}
	read_on_the_spot(LEN);
	end();
}

Test(no_round, a_wish_for_another_rate_is_looked_at_in_the_next_call)
{
	start();
	read_on_the_spot(0);
	n_rounds = 0;
	bpull_engine_set_speed(engine, MiB, 0);
	read_on_the_spot(0);
	cr_assert_gt(n_rounds, 0);
	cr_assert_eq(engine->limiter.rate, MiB);
	end();
}

/* A call that may find nothing to hand out does what there is to do before it sleeps. */
Test(no_round, without_an_event_each_call_runs_one)
{
	struct bpull_event event;

	start();
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 0), 0);
	cr_assert_gt(n_rounds, 0);
	end();
}

Test(no_round, a_program_that_sleeps_on_the_descriptor_gets_one_each_time)
{
	start();
	cr_assert_geq(bpull_engine_fd(engine), 0);
	for (unsigned i = 0; i < N_READS; i++)
		read_on_the_spot(0);
	cr_assert_geq(n_rounds, N_READS);
	end();
}
