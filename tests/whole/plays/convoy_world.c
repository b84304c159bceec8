/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See convoy_world.h. */
#include "tests/whole/plays/convoy_world.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/api/engine.h"
#include "engine/copy/walk/walk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_pull.h"

struct world_met world_met;

uint64_t world_draw(struct world *w, uint64_t n)
{
	w->state = sim_mix(w->state, 7);
	return n ? w->state % n : 0;
}

void world_take_events(struct world *w)
{
	struct bpull_event events[4];
	int n = bpull_engine_process(w->engine, events, 4);

	for (int i = 0; i < n; i++) {
		struct convoy_disk *d = w->disks;

		while (d->guest.disk != events[i].disk)
			d++;
		if (events[i].type == BPULL_EVENT_IO) {
			world_assert(w, sim_guest_end(&d->guest, &events[i]), "%s: %s", d->name,
				     d->guest.wrong);
			continue;
		}
		d->end = events[i];
		d->is_over = true;
	}
	/* Time passes where nothing else happens. */
	if (!w->sim->n_flights && !w->sim->n_waiting)
		sim_advance(w->sim, MS);
}

static void open_disk(struct world *w, struct convoy_disk *d)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)w->chain.how.format,
					.backing_format = (enum bpull_format)w->chain.unnamed,
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error;

	world_assert(w, !bpull_disk_open(w->engine, d->name, &o, &d->guest.disk, &error),
		     "%s does not open: %s", d->name, error.message);
}

static void wait_for_guest(struct world *w, struct convoy_disk *d)
{
	for (unsigned i = 0; d->guest.n_in_flight; i++) {
		world_assert(w, i < MAX_CALLS, "a request hangs");
		world_take_events(w);
	}
}

static void write_some(struct world *w, struct convoy_disk *d)
{
	for (uint64_t n = world_draw(w, 4); n; n--) {
		struct sim_guest_request r = { .kind = SIM_GUEST_WRITE };

		r.len = 1 + world_draw(w, UINT64_C(3) * w->chain.cluster_len);
		r.off = world_draw(w, w->chain.guest_len - MIN(r.len, w->chain.guest_len - 1));
		r.len = MIN(r.len, w->chain.guest_len - r.off);
		r.cuts[0] = r.cuts[1] = r.len / 2;
		r.value = (uint8_t)(1 + world_draw(w, 255));
		sim_guest_submit(&d->guest, &r);
	}
	wait_for_guest(w, d);
	/* Else they may be lost where the disk fails later. */
	sim_guest_submit(&d->guest, &(struct sim_guest_request){ .kind = SIM_GUEST_FLUSH });
	wait_for_guest(w, d);
}

void world_start(struct world *w, struct convoy_disk *d)
{
	struct bpull_job_options o = {
		.size = sizeof(o),
		.flags = world_draw(w, 3) || w->is_counted ? 0 : BPULL_JOB_VERIFY,
		.copy = world_draw(w, 4) || w->is_counted ? BPULL_COPY_READ : BPULL_COPY_AUTO
	};
	struct bpull_error error;

	if (d->trouble == SLOW)
		o.bandwidth = 256 * KiB;
	world_assert(w, !bpull_job_start(d->guest.disk, &o, &error), "%s: no job: %s", d->name,
		     error.message);
	d->runs = true;
}

void world_stall(struct world *w, const struct convoy_disk *d, uint64_t ns)
{
	struct sim_knobs *knobs = sim_knobs(w->sim);

	knobs->hold_ops = 1 << SIM_WRITE;
	knobs->hold_permille = 1000;
	knobs->hold_name = d->name;
	knobs->hold_ns = ns;
}

void world_end_stall(struct world *w)
{
	sim_knobs(w->sim)->hold_ops = 0;
}

static void disturb(struct world *w, struct convoy_disk *d)
{
	struct sim_fault fault = { .op = SIM_WRITE,
				   .nth = 1 + world_draw(w, 4),
				   .error = -EIO,
				   .persists = true,
				   .name = d->name };

	switch (d->trouble) {
	case PAUSED: bpull_job_pause(d->guest.disk); break;
	case ABORTED: bpull_job_abort(d->guest.disk); break;
	case LATE: world_start(w, d); break;
	case FULL: sim_file_limit(w->sim, d->name, sim_file_len(w->sim, d->name)); break;
	case BROKEN: sim_fail(w->sim, &fault); break;
	case SLOW:
	case UNDISTURBED:
	case N_TROUBLES: break;
	}
}

bool world_is_at_work(const struct world *w, bool but_paused)
{
	for (const struct convoy_disk *d = w->disks; d < w->disks + w->n; d++)
		if (!d->is_over && !(but_paused && d->trouble == PAUSED))
			return true;
	return false;
}

void world_run(struct world *w)
{
	for (uint64_t i = 1; world_is_at_work(w, true); i++) {
		world_assert(w, i < MAX_CALLS, "it hangs");
		for (struct convoy_disk *d = w->disks; d < w->disks + w->n; d++)
			if (d->when == i)
				disturb(w, d);
		if (w->stalls && i == STALL_FROM)
			world_stall(w, &w->disks[0], 0);
		if (i == STALL_TO)
			world_end_stall(w);
		world_take_events(w);
		for (const struct convoy_disk *d = w->disks; d < w->disks + w->n; d++)
			world_met.fed_late += d->guest.disk->walk->company.begun.guest_off != 0;
	}
	for (struct convoy_disk *d = w->disks; d < w->disks + w->n; d++) {
		world_assert(w, d->runs, "%s was not started", d->name);
		if (!d->is_over)
			bpull_job_resume(d->guest.disk);
	}
	for (unsigned i = 0; world_is_at_work(w, false); i++) {
		world_assert(w, i < MAX_CALLS, "the paused ones hang");
		world_take_events(w);
	}
}

static void judge(struct world *w, const struct convoy_disk *d)
{
	struct sim *left = sim_cut(w->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	uint8_t *got = sim_need(malloc(w->chain.guest_len));
	struct sim_verdict v;
	unsigned link = sim_chain_link_of(&w->chain, left, d->name);
	bool done = d->end.status == BPULL_JOB_COMPLETED;

	world_assert(w, link == (done ? w->chain.n_files : 1), "%s: status %d, and the link is %u",
		     d->name, (int)d->end.status, link);
	if (strcmp(d->name, SIM_CHAIN_TOP) != 0)
		sim_file_rename(left, d->name, SIM_CHAIN_TOP);
	sim_pull_read(&w->chain, left, got, &v);
	world_assert(w, v.ok, "%s: %s", d->name, v.text);
	for (uint64_t i = 0; i < w->chain.guest_len; i++)
		world_assert(w, model_is_legal(&d->guest.model, i, got[i]),
			     "%s: byte %" PRIu64 " is %#x", d->name, i, got[i]);
	free(got);
	sim_free(left);
}

void world_judge_end(struct world *w, const struct convoy_disk *d)
{
	bool may_fail = d->trouble == FULL || d->trouble == BROKEN || w->source_fails;

	world_met.completed += d->end.status == BPULL_JOB_COMPLETED;
	world_met.failed += d->end.status == BPULL_JOB_FAILED;
	world_met.canceled += d->end.status == BPULL_JOB_CANCELED;
	world_assert(w, d->end.status != BPULL_JOB_FAILED || may_fail, "%s failed: %s", d->name,
		     d->end.message);
	world_assert(w, d->end.status != BPULL_JOB_CANCELED || d->trouble == ABORTED,
		     "%s was canceled", d->name);
}

void world_begin(struct world *w)
{
	static const uint64_t kept[] = { 0, 128 * KiB, 1 * MiB };

	w->sim = sim_new(w->seed);
	sim_clock_reset();
	sim_chain_put(&w->chain, w->sim);
	*sim_knobs(w->sim) = (struct sim_knobs){ .max_delay_ns = world_draw(w, 2) * 5 * MS,
						 .short_permille = (unsigned)world_draw(w, 2) * 100,
						 .may_clone = sim_knobs(w->sim)->may_clone,
						 .clones = sim_knobs(w->sim)->clones };
	cr_assert_eq(engine_open_on(sim_io(w->sim), sim_opener(w->sim), 16 * MiB, &w->engine), 0);
	w->engine->budget.commit_len = (1 + world_draw(w, 40)) * 64 * KiB;
	if (w->seed % 3 == 2) {
		w->engine->convoys.max_len = kept[world_draw(w, ARRAY_LEN(kept))];
		w->engine->convoys.member_len = 0;
	}
	for (unsigned i = 0; i < w->n; i++) {
		struct convoy_disk *d = &w->disks[i];

		snprintf(d->name, sizeof(d->name), i ? "/top%u" : SIM_CHAIN_TOP, i);
		if (i)
			sim_chain_put_twin(&w->chain, w->sim, d->name);
		model_begin(&d->guest.model, w->chain.want, w->chain.guest_len);
		open_disk(w, d);
		if (i || !w->is_counted) /* else one alone need not read it all */
			write_some(w, d);
	}
	sim_knobs(w->sim)->far_rate = 1 * GiB;
	sim_knobs(w->sim)->far_latency_ns = world_draw(w, 3) * MS;
}

void world_end(struct world *w)
{
	bpull_engine_close(w->engine);
	for (unsigned i = 0; i < w->n; i++) {
		judge(w, &w->disks[i]);
		model_end(&w->disks[i].guest.model);
	}
	sim_free(w->sim);
	sim_chain_free(&w->chain);
}
