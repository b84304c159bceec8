/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/whole/rates/timed_rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>

#include "engine/api/engine.h"

#define MAX_TURNS 4000000

static void add_sources(struct timed_rig *rig, const struct sim_source_how *source,
			struct bpull_disk_options *o)
{
	rig->sources = sim_sources_new(rig->sim);
	for (unsigned i = 1; i < rig->chain.n_files; i++)
		sim_sources_add(rig->sources, rig->chain.files[i].name + 1, source);
	o->find_base = sim_sources_find;
	o->find_opaque = rig->sources;
}

void timed_rig_open_far(struct timed_rig *rig, const struct sim_chain_how *how,
			const struct sim_source_how *source)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error;

	*rig = (struct timed_rig){ .sim = sim_new(how->seed) };
	sim_clock_reset();
	sim_chain_draw(&rig->chain, how);
	sim_chain_put(&rig->chain, rig->sim);
	if (source)
		add_sources(rig, source, &o);
	o.backing_format = (enum bpull_format)rig->chain.unnamed;
	cr_assert_eq(engine_open_on(sim_io(rig->sim), sim_opener(rig->sim), 16 * MiB, &rig->engine),
		     0);
	cr_assert_eq(bpull_disk_open(rig->engine, SIM_CHAIN_TOP, &o, &rig->disk, &error), 0, "%s",
		     error.message);
}

void timed_rig_open(struct timed_rig *rig, const struct sim_chain_how *how)
{
	timed_rig_open_far(rig, how, NULL);
}

void timed_rig_start(struct timed_rig *rig, const struct bpull_job_options *job)
{
	struct bpull_error error;

	cr_assert_eq(bpull_job_start(rig->disk, job, &error), 0, "%s", error.message);
	rig->begin_ns = sim_clock_ns();
}

void timed_rig_close(struct timed_rig *rig)
{
	bpull_engine_close(rig->engine);
	if (rig->sources)
		sim_sources_free(rig->sources);
	sim_chain_free(&rig->chain);
	sim_free(rig->sim);
}

struct bpull_job_info timed_rig_info(const struct timed_rig *rig)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	cr_assert_eq(bpull_job_get_info(rig->disk, &info), 1);
	return info;
}

void timed_rig_turn(struct timed_rig *rig)
{
	rig->n_events += (unsigned)bpull_engine_process(rig->engine, &rig->event, 1);
}

void timed_rig_turn_and_wait(struct timed_rig *rig)
{
	timed_rig_turn(rig);
	if (!rig->sim->n_flights && !rig->sim->n_waiting)
		sim_advance(rig->sim, MS);
}

uint64_t timed_rig_run(struct timed_rig *rig)
{
	for (unsigned i = 0; !rig->n_events; i++) {
		cr_assert_lt(i, MAX_TURNS, "seed %" PRIu64 ": it hangs", rig->chain.how.seed);
		timed_rig_turn_and_wait(rig);
	}
	cr_assert_eq(rig->event.status, BPULL_JOB_COMPLETED, "%s", rig->event.message);
	return sim_clock_ns() - rig->begin_ns;
}
