/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One play of heads (heads.h): what its machine is like, and what is done in it. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/support/random.h"
#include "tests/whole/heads/heads.h"

#define MAX_GROWTH (20 * KiB)

struct heads_met heads_met;

uint64_t heads_below(struct heads *all, uint64_t n)
{
	return random_below(&all->state, n);
}

void heads_say(const struct heads *all, const char *format, ...)
{
	va_list args;

	if (!getenv("HEADS_TRACE"))
		return;
	fprintf(stderr, "%" PRIu64 ": ", sim_n_all_ops(all->machine.sim));
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* ---- the beginning ---- */

static void draw_chain(struct heads *all)
{
	uint64_t seed = all->seed;
	struct sim_chain_how how = {
		.seed = seed / 4 + 1,
		.format = seed % 4 ? IMAGE_QCOW2 : IMAGE_QED,
		.cluster_bits = seed % 4 ? 9 + seed / 4 % 4 : 12,
		.n_clusters = seed % 4 ? 12 + seed % 30 : 4 + seed % 6,
		.max_depth = 3,
		.any_below_qed = true,
		.full_block = seed % 8 == 5,
		.clone = seed / 8 % 4,
	};

	if (all->how.kinds)
		heads_kinds_chain(all, &how);
	sim_chain_draw(&all->chain, &how);
	all->max_len = round_up(all->chain.snapshot_len + MAX_GROWTH, 512);
	for (unsigned i = 1; i < all->chain.n_files; i++) /* their longer disks */
		all->max_len = MAX(all->max_len, all->chain.guest_len + 64 * KiB + 9 * 4096);
}

static enum image_format format_of(const struct sim *sim, const char *name)
{
	char magic[4];

	sim_file_peek(sim, name, magic, sizeof(magic), 0);
	if (!memcmp(magic, "QFI\xfb", 4))
		return IMAGE_QCOW2;
	return memcmp(magic, "QED", 4) ? IMAGE_RAW : IMAGE_QED;
}

/* The images below the tops, the lowest first; each is read as it is now. */
static unsigned add_backing(struct heads *all)
{
	struct sim *sim = all->machine.sim;
	unsigned below = HEADS_NONE;

	for (unsigned i = all->chain.n_files; --i > 0;) {
		const char *name = all->chain.files[i].name;
		struct heads_image *image;
		struct sim_verdict v;
		struct sim *copy;

		below = heads_image_add(all, name, format_of(sim, name), below, 0);
		image = &all->images[below];
		image->len = heads_len_of(all, sim, below);
		image->held = sim_need(malloc(all->max_len));
		copy = sim_cut(sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
		heads_assert(all, heads_read_image(all, copy, below, image->held, &v), "%s: %s",
			     name, v.text);
		sim_free(copy);
	}
	return below;
}

static void add_heads(struct heads *all, unsigned below)
{
	static const char *const names[HEADS_MAX] = { SIM_CHAIN_TOP, "/twin", "/third", "/fourth" };
	unsigned n = 1 + (unsigned)heads_below(all, 1 + heads_below(all, HEADS_MAX));

	if (all->chain.data.name[0]) /* which is one image's */
		n = 1;
	for (unsigned i = 0; i < n; i++) {
		struct heads_head *h = &all->heads[i];

		if (i)
			sim_chain_put_twin(&all->chain, all->machine.sim, names[i]);
		*h = (struct heads_head){ .is_used = true, .old_top = HEADS_NONE };
		h->len = all->chain.guest_len;
		h->top = heads_image_add(all, names[i], all->chain.how.format, below, h->len);
		heads_kinds_top(all, h->top);
		h->first = sim_need(calloc(1, all->max_len));
		memcpy(h->first, all->chain.want, h->len);
		model_begin(&h->guest.model, h->first, all->max_len);
	}
}

static void set_knobs(struct heads *all)
{
	static const unsigned held[] = { 1 << SIM_READ, 1 << SIM_WRITE, 1 << SIM_SYNC,
					 1 << SIM_WORK };
	struct sim_knobs *knobs = sim_knobs(all->machine.sim);
	uint64_t seed = all->seed;

	knobs->short_permille = (unsigned)(seed % 3 * 150);
	knobs->retry_permille = (unsigned)(seed % 5 * 20);
	knobs->no_discard = seed % 11 == 0;
	if (seed % 4 == 3) { /* some of a kind come last */
		knobs->hold_ops = held[seed / 4 % ARRAY_LEN(held)];
		knobs->hold_permille = (unsigned)(seed / 16 % 4 * 250 + 50);
	}
}

/* ---- failures ---- */

static void mend(struct heads *all)
{
	struct sim *sim = all->machine.sim;

	sim_clear_faults(sim);
	for (struct sim_file *file = sim->files; file; file = file->next)
		file->limit = 0;
	all->n_broken = 0;
}

static void fill_a_file(struct heads *all)
{
	unsigned i = (unsigned)heads_below(all, all->n_images);
	const char *name = all->images[i].name;

	if (!all->images[i].is_gone)
		sim_file_limit(all->machine.sim, name,
			       sim_file_len(all->machine.sim, name) + heads_below(all, 6) * 512);
}

static void break_something(struct heads *all)
{
	static const enum sim_op ops[] = { SIM_READ, SIM_WRITE,    SIM_WRITE,   SIM_SYNC,
					   SIM_WORK, SIM_TRUNCATE, SIM_DIR_SYNC };
	struct sim_fault fault = { .op = ops[heads_below(all, ARRAY_LEN(ops))],
				   .nth = 1 + heads_below(all, 12),
				   .error = heads_below(all, 2) ? -EIO : -ENOSPC,
				   .forever = !heads_below(all, 4) };

	if (all->n_broken == SIM_MAX_FAULTS - 1)
		mend(all);
	all->n_broken++;
	all->was_hurt = true;
	if (all->how.room) {
		fill_a_file(all);
		return;
	}
	if (fault.op == SIM_READ)
		fault.error = -EIO;
	all->was_workless |= fault.op == SIM_WORK;
	sim_fail(all->machine.sim, &fault);
}

/* ---- what happens ---- */

static bool any_job(const struct heads *all)
{
	for (const struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->job.runs)
			return true;
	return false;
}

static void act_closed(struct heads *all, struct heads_head *h)
{
	switch (heads_below(all, 12)) {
	case 0: heads_retire(all, h); return;
	case 1:
	case 2:
	case 3:
	case 4:
	case 5: heads_open(all, h);
	}
}

static void act_open(struct heads *all, struct heads_head *h)
{
	bool is_full = h->guest.model.n_versions > MODEL_MAX_VERSIONS - 16;

	switch (heads_below(all, 60)) {
	case 0:
	case 1:
	case 2: heads_snapshot(all, h); return;
	case 3:
	case 4:
	case 5:
	case 6:
	case 7: heads_start_job(all, h); return;
	case 8: heads_resize(all, h); return;
	case 9: heads_close(all, h); return;
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
	case 15:
	case 16:
	case 17:
		if (h->job.runs)
			heads_steer_job(all, h);
		return;
	case 18:
		if (is_full)
			heads_begin_again(all, h);
		return;
	default: heads_request(all, h);
	}
}

static void act(struct heads *all)
{
	struct heads_head *h = &all->heads[heads_below(all, HEADS_MAX)];

	if (!h->is_used && !heads_below(all, 4))
		heads_be_born(all, h);
	else if (h->is_used && !h->guest.disk)
		act_closed(all, h);
	else if (h->is_used)
		act_open(all, h);
}

/* The process that was at work when the machine stopped dies, or all do. */
static void die(struct heads *all, unsigned process)
{
	heads_met.died_in_call++;
	if (heads_below(all, 2) && all->engines[process])
		heads_kill(all, process);
	else
		heads_cut(all);
}

static void crash(struct heads *all)
{
	unsigned process = (unsigned)heads_below(all, HEADS_PROCESSES);

	if (!heads_below(all, 3))
		heads_cut(all);
	else if (all->engines[process])
		heads_kill(all, process);
}

static void step(struct heads *all)
{
	bool may_crash = all->how.crashes;

	if (may_crash && !heads_below(all, 40))
		sim_stop_at(all->machine.sim,
			    sim_n_all_ops(all->machine.sim) + 1 + heads_below(all, 60));
	act(all);
	for (unsigned p = 0; p < HEADS_PROCESSES; p++)
		if (heads_below(all, 2))
			heads_process(all, p);
	if (sim_is_stopped(all->machine.sim))
		die(all, all->acting);
	else if (may_crash && !heads_below(all, 120))
		crash(all);
	if (all->how.cuts && !heads_below(all, 5))
		heads_look_at_cut(all);
	if ((all->how.faults || all->how.room) && !heads_below(all, 15))
		break_something(all);
	if ((all->how.faults || all->how.room) && !heads_below(all, 15))
		mend(all);
	if (!any_job(all) && !heads_below(all, 10))
		heads_prune(all);
}

/* ---- the end ---- */

static void end_jobs(struct heads *all)
{
	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++) {
		if (!h->guest.disk)
			continue;
		if (h->job.runs && heads_below(all, 4)) {
			bpull_job_finalize(h->guest.disk);
			bpull_job_resume(h->guest.disk);
			heads_met.resumed += h->job.is_stopped;
			while (h->job.runs) { /* one that waits is told once more */
				heads_process(all, h->process);
				bpull_job_finalize(h->guest.disk);
				heads_pass_time(all, h->process);
			}
		}
		heads_run(all, h, false);
	}
	heads_hear_of_ends(all);
}

static void end(struct heads *all)
{
	sim_stop_at(all->machine.sim, 0);
	mend(all);
	end_jobs(all);
	/* A file that no worker could close stays open until its disk is closed. */
	if (!any_job(all) && !all->was_workless)
		heads_judge_locks(all);
	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->guest.disk)
			heads_close(all, h);
	heads_end_idle(all);
	heads_judge(all, all->machine.sim, "at the end", HEADS_ALIVE);
	heads_judge_locks(all);
	for (struct heads_head *h = all->heads; h < all->heads + HEADS_MAX; h++)
		if (h->is_used)
			heads_end(h);
	for (unsigned i = 0; i < all->n_images; i++)
		heads_image_forget(all, i);
	sim_free(all->machine.sim);
	sim_chain_free(&all->chain);
}

void heads_play(uint64_t seed, const struct heads_how *how)
{
	struct heads *all = sim_need(calloc(1, sizeof(*all)));

	all->how = *how;
	all->seed = seed;
	all->state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	all->trying = HEADS_NONE;
	draw_chain(all);
	sim_clock_reset();
	all->machine.sim = sim_new(seed);
	sim_chain_put(&all->chain, all->machine.sim);
	add_heads(all, add_backing(all));
	set_knobs(all);
	heads_plant_locks(all);
	for (unsigned n = 100 + (unsigned)heads_below(all, 400); n; n--)
		step(all);
	end(all);
	free(all);
}
