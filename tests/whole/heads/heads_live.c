/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Disks that are opened, used and closed, and processes that die (heads.h). */
#include <errno.h>
#include <string.h>

#include "engine/api/engine.h"
#include "engine/core/disk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/whole/heads/heads.h"

#define MAX_CALLS 200000

/* ---- events ---- */

static bool may_fail(const struct heads *all, int error)
{
	if (sim_is_stopped(all->machine.sim) || all->how.faults)
		return true;
	return all->how.room && error == -ENOSPC;
}

static void take_event(struct heads *all, const struct bpull_event *event)
{
	struct heads_head *h = all->heads;

	while (h->guest.disk != event->disk)
		h++;
	if (event->type != BPULL_EVENT_IO) {
		heads_take_job_event(all, h, event);
		return;
	}
	heads_assert(all, !event->error || may_fail(all, event->error), "a request fails: %s",
		     strerror(-event->error));
	if (event->user_data == h)
		heads_take_resized(all, h, event);
	else
		heads_assert(all, sim_guest_end(&h->guest, event), "%s: %s",
			     all->images[h->top].name, h->guest.wrong);
}

void heads_process(struct heads *all, unsigned process)
{
	struct bpull_event events[4];
	int n;

	if (!all->engines[process] || sim_is_stopped(all->machine.sim))
		return;
	all->acting = process;
	n = bpull_engine_process(all->engines[process], events, 1 + (int)heads_below(all, 4));
	for (int i = 0; i < n; i++)
		take_event(all, &events[i]);
}

void heads_pass_time(struct heads *all, unsigned process)
{
	struct bpull_engine *engine = all->engines[process];
	uint64_t at_ns = engine->loop.timer_ns;

	if (!engine->io->n_in_flight && at_ns > sim_clock_ns())
		sim_advance(all->machine.sim, at_ns - sim_clock_ns());
}

bool heads_run(struct heads *all, struct heads_head *h, bool job_too)
{
	for (unsigned i = 0; h->guest.n_in_flight || h->grow_to || (job_too && h->job.runs); i++) {
		if (sim_is_stopped(all->machine.sim))
			return false;
		heads_assert(all, i < MAX_CALLS, "%s: it hangs, %u requests, job in step %d%s",
			     all->images[h->top].name, h->guest.n_in_flight,
			     (int)h->guest.disk->job.step, h->job.is_stopped ? ", stopped" : "");
		heads_pass_time(all, h->process);
		heads_process(all, h->process);
	}
	return !sim_is_stopped(all->machine.sim);
}

void heads_hear_of_ends(struct heads *all)
{
	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++) {
		struct bpull_job_info info = { .size = sizeof(info) };

		if (!h->guest.disk || !h->job.runs || sim_is_stopped(all->machine.sim))
			continue;
		heads_assert(all, bpull_job_get_info(h->guest.disk, &info) == 1, "no info");
		for (unsigned i = 0; info.state == BPULL_JOB_CONCLUDED && h->job.runs; i++) {
			heads_assert(all, i < 1000, "a job is over, and does not say so");
			heads_process(all, h->process);
		}
	}
}

/* ---- opening and closing ---- */

static void open_engine(struct heads *all, unsigned process)
{
	struct bpull_engine *engine;
	int rc;

	if (all->engines[process])
		return;
	rc = engine_open_on(sim_process_begin(&all->machine, process), sim_opener(all->machine.sim),
			    heads_below(all, 3) ? SIM_PULL_MEMORY : 8 * MiB, &engine);
	heads_assert(all, !rc, "no engine");
	engine->budget.commit_len = (1 + heads_below(all, 40)) * 4096;
	all->engines[process] = engine;
}

/* An image that it needs is locked by another disk. */
static enum heads_use use_by_others(const struct heads *all, const struct heads_head *h)
{
	enum heads_use use = heads_use_of(all, h->top, h);

	for (unsigned i = h->top; i != HEADS_NONE; i = all->images[i].below)
		if (!use && heads_is_written_elsewhere(all, i, h))
			use = HEADS_MAYBE_USED;
	return use;
}

void heads_open(struct heads *all, struct heads_head *h)
{
	const struct heads_image *top = &all->images[h->top];
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)top->format,
		.backing_trust = BPULL_TRUST_ALL, /* QED records no format but raw */
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | (heads_below(all, 4) ? 0 : BPULL_DISK_COPY_ON_READ),
	};
	struct bpull_error error;
	enum heads_use use;
	int rc;

	heads_hear_of_ends(all);
	h->process = (unsigned)heads_below(all, HEADS_PROCESSES);
	open_engine(all, h->process);
	all->acting = h->process;
	use = use_by_others(all, h);
	rc = bpull_disk_open(all->engines[h->process], top->name, &o, &h->guest.disk, &error);
	heads_say(all, "open %s in process %u: %d %s", top->name, h->process, rc,
		  rc ? error.message : "");
	if (rc)
		h->guest.disk = NULL;
	heads_met.busy += rc == -EBUSY;
	heads_assert(all, may_fail(all, rc) || (!rc && use != HEADS_USED) || (rc == -EBUSY && use),
		     "%s opens: %d %s", top->name, rc,
		     rc ? error.message : "though another disk has its images");
	heads_assert(all, rc || bpull_disk_size(h->guest.disk) == h->len,
		     "%s is %" PRIu64 " bytes long instead of %" PRIu64, top->name,
		     bpull_disk_size(h->guest.disk), h->len);
}

static void close_engine(struct heads *all, unsigned process)
{
	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->guest.disk && h->process == process)
			return;
	if (all->engines[process])
		bpull_engine_close(all->engines[process]);
	all->engines[process] = NULL;
}

void heads_end_idle(struct heads *all)
{
	for (unsigned p = 0; p < HEADS_PROCESSES; p++) {
		all->acting = p;
		close_engine(all, p);
	}
}

static void make_durable(struct heads_head *h)
{
	struct model_flush flush;

	model_flush_begin(&h->guest.model, &flush);
	model_flush_end(&h->guest.model, &flush);
}

/* A close with a job aborts it. What could not be written is lost. */
void heads_close(struct heads *all, struct heads_head *h)
{
	bool is_lost;

	if (!heads_run(all, h, false))
		return;
	heads_hear_of_ends(all);
	all->acting = h->process;
	is_lost = h->guest.disk->poisoned || all->how.faults || all->how.room;
	heads_say(all, "close %s%s", all->images[h->top].name, h->job.runs ? " with its job" : "");
	bpull_disk_close(h->guest.disk);
	sim_guest_abandon(&h->guest);
	h->died = h->job.runs || is_lost || sim_is_stopped(all->machine.sim);
	if (sim_is_stopped(all->machine.sim))
		return;
	if (!is_lost)
		make_durable(h);
	h->is_loose &= is_lost;
	if (h->died) {
		heads_job_died(all, h, all->machine.sim);
		heads_judge(all, all->machine.sim, "after a close", HEADS_KILLED);
	}
	close_engine(all, h->process);
}

void heads_begin_again(struct heads *all, struct heads_head *h)
{
	uint8_t *first;

	if (all->how.faults || all->how.room || !heads_run(all, h, false))
		return;
	first = sim_need(calloc(1, all->max_len));
	sim_guest_submit(&h->guest, &(struct sim_guest_request){ .kind = SIM_GUEST_FLUSH });
	if (heads_run(all, h, false))
		sim_guest_submit(&h->guest, &(struct sim_guest_request){ .kind = SIM_GUEST_READ,
									 .len = h->len,
									 .out = first });
	if (!heads_run(all, h, false)) {
		free(first);
		return;
	}
	heads_say(all, "%s begins again", all->images[h->top].name);
	model_end(&h->guest.model);
	model_begin(&h->guest.model, first, all->max_len);
	free(h->first);
	h->first = first;
}

/* ---- requests ---- */

void heads_request(struct heads *all, struct heads_head *h)
{
	static const enum sim_guest_kind kinds[] = {
		SIM_GUEST_READ,    SIM_GUEST_READ,    SIM_GUEST_WRITE, SIM_GUEST_WRITE,
		SIM_GUEST_WRITE,   SIM_GUEST_ZEROES,  SIM_GUEST_FLUSH, SIM_GUEST_FLUSH,
		SIM_GUEST_DISCARD, SIM_GUEST_DISCARD, SIM_GUEST_STATUS
	};
	struct sim_guest_request r = { .kind = kinds[heads_below(all, ARRAY_LEN(kinds))] };

	if (h->guest.n_in_flight >= SIM_GUEST_MAX - 2)
		return;
	if (h->guest.model.n_versions >= MODEL_MAX_VERSIONS - 2)
		r.kind = SIM_GUEST_READ;
	r.len = 1 + heads_below(all, MIN(h->len, h->len / 4 + 3000));
	r.off = heads_below(all, h->len - r.len + 1);
	r.cuts[0] = r.cuts[1] = heads_below(all, r.len + 1);
	r.value = r.kind == SIM_GUEST_WRITE ? ++h->value : 0;
	if (r.kind == SIM_GUEST_WRITE && !heads_below(all, 5))
		r.flags = BPULL_IO_FUA;
	heads_say(all, "%s: request %d at %" PRIu64 "+%" PRIu64 " value %#x flags %u",
		  all->images[h->top].name, (int)r.kind, r.off, r.len, r.value, r.flags);
	sim_guest_submit(&h->guest, &r);
}

/* ---- deaths ---- */

/* Closes the engine of this process; HEADS_PROCESSES: those of all. */
static void bury(struct heads *all, unsigned process)
{
	for (unsigned p = 0; p < HEADS_PROCESSES; p++)
		if (all->engines[p] && (process == HEADS_PROCESSES || p == process)) {
			bpull_engine_close(all->engines[p]);
			all->engines[p] = NULL;
		}
	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->guest.disk && (process == HEADS_PROCESSES || h->process == process)) {
			heads_met.died_in_job += h->job.runs;
			sim_guest_abandon(&h->guest);
			h->died = true;
		}
}

static void note_deaths(struct heads *all, const struct sim *sim)
{
	all->was_hurt = true;
	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->died)
			heads_job_died(all, h, sim);
}

void heads_kill(struct heads *all, unsigned process)
{
	heads_say(all, "process %u is killed", process);
	heads_met.kills++;
	sim_process_kill(&all->machine, process);
	bury(all, process);
	sim_process_buried(&all->machine, process);
	note_deaths(all, all->machine.sim);
	heads_judge(all, all->machine.sim, "after a kill", HEADS_KILLED);
}

void heads_cut(struct heads *all)
{
	static const enum sim_cut_mode modes[] = { SIM_CUT_ALL_LOST, SIM_CUT_ALL_KEPT,
						   SIM_CUT_ONLY_LAST, SIM_CUT_RANDOM,
						   SIM_CUT_RANDOM };
	struct sim_cut how = { .mode = modes[heads_below(all, ARRAY_LEN(modes))],
			       .seed = heads_below(all, UINT32_MAX) };
	struct sim *left;

	heads_say(all, "the power is cut, mode %d", (int)how.mode);
	heads_met.cuts++;
	sim_processes_stop(&all->machine);
	bury(all, HEADS_PROCESSES);
	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		h->died = h->is_used;
	left = sim_cut(all->machine.sim, &how);
	sim_free(all->machine.sim);
	all->machine.sim = left;
	all->n_broken = 0;
	heads_links_settle(all);
	note_deaths(all, left);
	/* What is there now stays, also where a job's death has just loosened it. */
	for (unsigned i = 0; i < all->n_images; i++)
		all->images[i].n_old_links = 0;
	heads_judge(all, left, "after a power cut", HEADS_CUT);
}
