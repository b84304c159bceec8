/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See play.h: events, time, and the order of it all. */
#include "tests/whole/plays/play.h"

#include <poll.h>

#include "engine/api/engine.h"
#include "formats/core/layer_shared.h"
#include "formats/qcow2/space/freed.h"
#include "tests/support/random.h"

uint64_t play_below(struct play *p, uint64_t n)
{
	return n ? (random_step(&p->state) * UINT64_C(2685821657736338717) >> 20) % n : 0;
}

/* ---- events and time ---- */

void play_take_events(struct play *p)
{
	struct bpull_event events[4];
	bool leave = p->late_events && play_below(p, 4);
	int n;

	p->n_bad_known = play_n_bad_over(p);
	n = bpull_engine_process(p->engine, events, leave ? 0 : 1 + (int)play_below(p, 4));

	CHECK(p, n >= 0, "process() failed");
	for (int i = 0; i < n; i++)
		if (events[i].type == BPULL_EVENT_IO && events[i].user_data == &p->grow_to)
			play_end_grow(p, &events[i]);
		else if (events[i].type == BPULL_EVENT_IO)
			play_end_request(p, &events[i]);
		else
			play_end_job(p, &events[i]);
	play_watch_job(p);
	play_sources_watch(p);
	/* One that stopped at READY waits again a moment after it was told to go on. */
	if (p->ending && p->job_runs && p->is_ready && !p->is_aborted)
		play_urge_job(p);
}

/* Nothing is on its way: the clock goes on to what the engine has set its timer to. */
static bool pass_time(struct play *p)
{
	uint64_t at_ns = p->engine->loop.timer_ns;

	if (p->engine->io->n_in_flight || !at_ns)
		return false;
	if (at_ns > sim_clock_ns())
		sim_advance(p->sim, at_ns - sim_clock_ns());
	return true;
}

/* Time without traffic: a commit falls due, a limit has let a burst gather, a machine has slept. */
static void jump(struct play *p)
{
	static const uint64_t jumps_s[] = { 1, 3, 60, 86400, 30 * 86400 };

	sim_advance(p->sim, UINT64_C(1000000000) * jumps_s[play_below(p, ARRAY_LEN(jumps_s))]);
	play_met.jumps++;
}

void play_run_until(struct play *p, bool job_too)
{
	const struct job *job = &p->guest.disk->job;

	for (unsigned i = 0; p->guest.n_in_flight || p->grow_to || (job_too && p->job_runs); i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(p->engine), .events = POLLIN };
		const char *what = NULL;

		if (i == PLAY_MAX_CALLS)
			what = "it does not end";
		else if (i && !pass_time(p) && poll(&ready, 1, 5000) != 1)
			what = "nothing happens";
		CHECK(p, !what, "%s: %u requests, job in step %d%s%s%s", what, p->guest.n_in_flight,
		      (int)job->step, job->fault.stopped ? ", stopped" : "",
		      job->paused ? ", paused" : "", job->aborted ? ", aborted" : "");
		play_take_events(p);
		if (p->cuts && p->grow_to)
			play_cut_now(p);
	}
}

void play_submit_and_wait(struct play *p, const struct sim_guest_request *r)
{
	play_submit(p, r);
	play_run_until(p, false);
}

/* ---- a play ---- */

static int free_unreferenced_early(struct layer *layer, bool with_last, struct table_need *need)
{
	return qcow2_free_unreferenced(layer, true, need);
}

static int free_unreferenced_undrained(struct layer *layer, bool with_last, struct table_need *need)
{
	int rc = qcow2_free_unreferenced(layer, true,
					 need); /* sooner: without cuts that shows nothing */

	if (qcow2_take_freed(layer))
		qcow2_reuse_freed(layer);
	return rc;
}

static void plant(struct play *p)
{
	struct layer *overlay = disk_overlay(p->guest.disk);

	if (!p->planted || !layer_frees_space(overlay))
		return;
	p->ops = *overlay->ops;
	p->shared_ops = *overlay->ops->shared;
	p->shared_ops.free_unreferenced =
		p->planted == PLANTED_EARLY ? free_unreferenced_early : free_unreferenced_undrained;
	p->ops.shared = &p->shared_ops;
	overlay->ops = &p->ops;
}

static void open_disk(struct play *p)
{
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)p->chain->how.format,
		.backing_format = (enum bpull_format)p->chain->unnamed,
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | (play_below(p, 2) ? BPULL_DISK_COPY_ON_READ : 0),
	};
	struct bpull_error error;
	int rc = engine_open_on(sim_io(p->sim), sim_opener(p->sim),
				play_below(p, 3) ? SIM_PULL_MEMORY : 8 * MiB, &p->engine);

	CHECK(p, !rc, "no engine");
	p->engine->budget.commit_len = (1 + play_below(p, 40)) * 4096;
	if (p->seed % 4 == 1) /* so little that requests must wait for commits */
		p->engine->budget.changed_len = 8 * KiB;
	play_sources_give(p, &o);
	play_sources_try_open(p, &o);
	rc = bpull_disk_open(p->engine, SIM_CHAIN_TOP, &o, &p->guest.disk, &error);
	CHECK(p, !rc, "it does not open: %s", error.message);
	p->link = 1;
	plant(p);
}

/* The whole disk, by the guest's own reads: what is judged by others afterwards. */
static void read_all(struct play *p, uint8_t *out)
{
	uint64_t part = 32 * p->chain->cluster_len;

	for (uint64_t at = 0; at < p->chain->guest_len; at += part) {
		uint64_t len = MIN(part, p->chain->guest_len - at);

		play_submit_and_wait(p, &(struct sim_guest_request){ .kind = SIM_GUEST_READ,
								     .off = at,
								     .len = len,
								     .cuts = { len, len },
								     .out = out + at });
	}
}

static void set_knobs(struct play *p)
{
	static const unsigned held[] = { 1 << SIM_READ, 1 << SIM_WRITE, 1 << SIM_SYNC,
					 1 << SIM_WORK };
	struct sim_knobs *knobs = sim_knobs(p->sim);
	uint64_t seed = p->seed;

	knobs->short_permille = (unsigned)(seed % 3 * 150);
	knobs->retry_permille = (unsigned)(seed % 5 * 20);
	knobs->no_discard = seed % 11 == 0;
	knobs->discard_fails_permille = seed % 4 == 2 ? 500 : 0;
	if (seed % 13 == 5)
		knobs->io_align = 512;
	if (seed % 6 == 5) /* a look at a file knows nothing for long */
		knobs->unsure_permille = seed / 6 % 2 ? 250 : 500;
	if (seed % 4 == 0) /* a few take very long */
		knobs->max_delay_ns = UINT64_C(1) << (14 + seed / 4 % 14);
	if (seed % 4 == 3) { /* some of a kind come last */
		knobs->hold_ops = held[seed / 4 % ARRAY_LEN(held)];
		knobs->hold_permille = (unsigned)(seed / 16 % 4 * 250 + 50);
		if (seed / 64 % 3)
			knobs->hold_name = p->chain->files[seed / 64 % 3 - 1].name;
	}
}

/* Where a job waits or drops the link, few writes are left to fail. */
static bool is_at_the_end(const struct play *p)
{
	enum job_step step = p->guest.disk->job.step;

	return step == JOB_READY || step == JOB_DETACHING || step == JOB_UNWINDING;
}

static void act(struct play *p, unsigned width)
{
	bool fails = p->faults || p->space;

	for (unsigned n = 5 + (unsigned)play_below(p, 60); n; n--) {
		if (p->guest.n_in_flight < width && play_below(p, 4))
			play_start_request(p);
		if (!play_below(p, 4))
			play_steer_job(p);
		if (play_below(p, 3))
			play_take_events(p);
		if (!play_below(p, 20))
			jump(p);
		if (p->grows && !play_below(p, 8))
			play_grow(p);
		if (p->cuts && (p->grow_to || !play_below(p, 3)))
			play_cut_now(p);
		if (fails && !play_below(p, p->space && is_at_the_end(p) ? 3 : 12))
			play_break(p);
		if (fails && !play_below(p, 12))
			play_mend(p);
		play_sources_act(p);
		if (p->sources && !play_below(p, 4))
			pass_time(p);
		if (p->base_changes && p->job_runs && !play_below(p, 12))
			play_change_base(p);
		if ((p->base_ever_changed || (p->is_other && play_below(p, 2))) && !p->job_runs)
			return;
	}
}

/* All that was written is durable and known: the model begins anew, with all its versions. */
static void begin_again(struct play *p)
{
	uint8_t *first = sim_need(calloc(1, p->model_len));

	play_sources_be_right(p);
	play_run_until(p, false);
	read_all(p, first);
	play_submit_and_wait(p, &(struct sim_guest_request){ .kind = SIM_GUEST_FLUSH });
	model_end(&p->guest.model);
	model_begin(&p->guest.model, first, p->model_len);
	free(p->first);
	p->first = first;
}

static void begin_to_end(struct play *p)
{
	p->ending = true;
	play_mend(p);
	play_sources_be_right(p);
	/* One that is stopped, or waits, is closed as it is now and then. */
	if (p->job_runs && (p->space || p->base_changes || play_below(p, 3))) {
		if (p->is_stopped && play_below(p, 2)) {
			play_abort_job(p);
		} else {
			play_urge_job(p);
		}
		play_run_until(p, true);
	}
	play_run_until(p, false);
}

static void end(struct play *p)
{
	uint8_t *last = sim_need(malloc(p->model_len));

	begin_to_end(p);
	if (p->faults || p->is_other) {
		play_judge_faults(p);
	} else if (p->base_ever_changed) {
		bpull_engine_close(p->engine);
	} else {
		if (p->space)
			play_use_the_room(p);
		read_all(p, last);
		p->closed_with_job = p->job_runs;
		play_met.closed_stopped += p->is_stopped;
		bpull_engine_close(p->engine);
		play_judge_end(p, last);
	}
	free(last);
}

uint64_t play(struct sim_chain *chain, uint64_t seed, const struct play *how)
{
	struct play p = *how;
	unsigned n_acts, width;

	p.seed = seed;
	p.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	p.chain = chain;
	p.opened_len = p.model_len = chain->guest_len;
	if (p.grows)
		play_grow_begin(&p, chain);
	sim_clock_reset();
	p.sim = sim_new(seed);
	play_hang_watch(seed);
	n_acts = p.faults || p.space || p.base_changes || p.sources & PLAY_SOURCES_CHANGE
			 ? 1
			 : 1 + (unsigned)play_below(&p, 3);
	width = 1 + (unsigned)play_below(&p, SIM_GUEST_MAX);
	sim_chain_put(chain, p.sim);
	set_knobs(&p);
	play_sources_begin(&p);
	model_begin(&p.guest.model, p.grows ? p.first : chain->want, p.model_len);
	open_disk(&p);
	for (act(&p, width); --n_acts; act(&p, width))
		begin_again(&p);
	end(&p);
	play_hang_end();
	model_end(&p.guest.model);
	free(p.first);
	play_met.trace = sim_trace(p.sim); /* of the last one */
	play_sources_free(&p);
	sim_free(p.sim);
	return p.n_states;
}
