/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See neighbours.h. */
#include "tests/whole/plays/neighbours.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "engine/api/engine.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"

#define MAX_CALLS 200000

const char *const neighbour_names[N_NEIGHBOURS] = { SIM_CHAIN_TOP, "/twin", "/third" };

struct neighbours_met neighbours_met;

uint64_t neighbours_below(struct neighbours *all, uint64_t n)
{
	all->state = sim_mix(all->state, 1);
	return n ? all->state % n : 0;
}

/* ---- what a disk drops ---- */

/* A disk that is closed names its files still. */
static bool is_used(const struct neighbours *all, unsigned file)
{
	for (unsigned i = 0; i < N_NEIGHBOURS; i++)
		if (all->disks[i].link <= file)
			return true;
	return false;
}

/* By a disk that is open; for sure: whose job can't have dropped it, with an event not taken
 * yet. */
static bool is_read(const struct neighbours *all, unsigned file, bool for_sure)
{
	for (unsigned i = 0; i < N_NEIGHBOURS; i++) {
		const struct neighbour *d = &all->disks[i];

		if (d->link <= file && d->guest.disk && !(for_sure && d->job_runs))
			return true;
	}
	return false;
}

static void drop(struct neighbours *all, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		const char *name = all->chain.files[i].name;
		uint64_t len = all->chain.files[i].file_len;
		bool is_open = sim_file_is_open(all->sim, name);
		uint8_t *junk;

		neighbours_assert(all, is_open || !is_read(all, i, true),
				  "%s is closed under a neighbour", name);
		neighbours_assert(all, !is_open || is_read(all, i, false),
				  "%s is open, and no disk reads it", name);
		if (is_used(all, i) || all->is_ruined[i])
			continue;
		all->is_ruined[i] = true;
		neighbours_met.ruined++;
		junk = sim_need(malloc(len + 1));
		memset(junk, 0xee, len);
		sim_file_overwrite(all->sim, name, junk, len, 0);
		free(junk);
	}
}

/* ---- what fails ---- */

static bool may_fail(const struct neighbours *all, int error)
{
	return all->faults && (error == -EIO || error == -ENOSPC);
}

void neighbours_mend(struct neighbours *all)
{
	sim_clear_faults(all->sim);
	for (unsigned i = 0; i < N_NEIGHBOURS; i++)
		sim_file_limit(all->sim, neighbour_names[i], 0);
	all->n_broken = 0;
}

void neighbours_break(struct neighbours *all)
{
	static const enum sim_op ops[] = { SIM_READ, SIM_READ, SIM_WRITE, SIM_WRITE, SIM_SYNC };
	const char *const files[] = {
		NULL, neighbour_names[neighbours_below(all, N_NEIGHBOURS)],
		all->chain.files[1 + neighbours_below(all, all->chain.n_files - 1)].name
	};
	const char *name = files[neighbours_below(all, ARRAY_LEN(files))];
	struct sim_fault fault = { .op = ops[neighbours_below(all, ARRAY_LEN(ops))],
				   .nth = 1 + neighbours_below(all, 8),
				   .error = neighbours_below(all, 2) ? -EIO : -ENOSPC,
				   .forever = !neighbours_below(all, 3),
				   .name = name };

	if (all->n_broken++ == SIM_MAX_FAULTS)
		neighbours_mend(all);
	if (name == files[1] && name && neighbours_below(all, 2)) {
		sim_file_limit(all->sim, name,
			       sim_file_len(all->sim, name) + neighbours_below(all, 8) * 512);
		return;
	}
	if (fault.op == SIM_READ)
		fault.error = -EIO;
	sim_fail(all->sim, &fault);
}

/* ---- events ---- */

static void judge_link(struct neighbours *all, struct neighbour *d, const struct bpull_event *event)
{
	unsigned is = sim_chain_link_of(&all->chain, all->sim, neighbour_names[d - all->disks]);
	unsigned want = event->status == BPULL_JOB_COMPLETED ? d->target : d->link;

	/* Putting the old header back may fail, too. The job then says that the link can't be
	 * known, and a cut may leave either. */
	if (d->guest.disk->poisoned &&
	    (is == d->target || strstr(event->message, "can't be known")))
		d->is_unknown = true;
	else
		neighbours_assert(all, is == want, "%s: status %d, and the link is %u, not %u",
				  neighbour_names[d - all->disks], (int)event->status, is, want);
}

static void end_job(struct neighbours *all, struct neighbour *d, const struct bpull_event *event)
{
	bool done = event->status == BPULL_JOB_COMPLETED;
	unsigned old = d->link;

	neighbours_assert(all, event->status != BPULL_JOB_FAILED || all->faults,
			  "the job failed: %s", event->message);
	judge_link(all, d, event);
	neighbours_met.failed += event->status == BPULL_JOB_FAILED;
	d->job_runs = false;
	if (!done)
		return;
	d->link = d->target;
	neighbours_met.completed++;
	for (unsigned i = 0; i < N_NEIGHBOURS; i++)
		neighbours_met.beside += &all->disks[i] != d && all->disks[i].guest.n_in_flight;
	drop(all, old, d->link);
}

void neighbours_take_events(struct neighbours *all)
{
	struct bpull_event events[4];
	int n = bpull_engine_process(all->engine, events, 1 + (int)neighbours_below(all, 4));

	for (int i = 0; i < n; i++) {
		struct neighbour *d = all->disks;

		while (d->guest.disk != events[i].disk)
			d++;
		if (events[i].type != BPULL_EVENT_IO) {
			end_job(all, d, &events[i]);
			continue;
		}
		neighbours_assert(all, !events[i].error || may_fail(all, events[i].error),
				  "a request failed: %s", strerror(-events[i].error));
		neighbours_assert(all, sim_guest_end(&d->guest, &events[i]), "%s: %s",
				  neighbour_names[d - all->disks], d->guest.wrong);
	}
}

static bool is_busy(const struct neighbours *all, const struct neighbour *only, bool job_too)
{
	for (const struct neighbour *d = all->disks; d < all->disks + N_NEIGHBOURS; d++)
		if ((!only || d == only) && (d->guest.n_in_flight || (job_too && d->job_runs)))
			return true;
	return false;
}

void neighbours_run_until(struct neighbours *all, const struct neighbour *only, bool job_too)
{
	for (unsigned i = 0; is_busy(all, only, job_too); i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(all->engine), .events = POLLIN };

		neighbours_assert(all, i < MAX_CALLS && (!i || poll(&ready, 1, 5000) == 1),
				  "it hangs");
		neighbours_take_events(all);
	}
}

/* ---- what a disk does ---- */

void neighbours_open(struct neighbours *all, struct neighbour *d)
{
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)all->chain.how.format,
		.backing_format = (enum bpull_format)all->chain.unnamed,
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO |
			 (neighbours_below(all, 2) ? BPULL_DISK_COPY_ON_READ : 0),
	};
	struct bpull_error error;
	int rc = bpull_disk_open(all->engine, neighbour_names[d - all->disks], &o, &d->guest.disk,
				 &error);

	neighbours_assert(all, !rc || may_fail(all, rc), "%s does not open: %s",
			  neighbour_names[d - all->disks], error.message);
	if (rc)
		d->guest.disk = NULL;
}

void neighbours_note_loss(struct neighbours *all, struct neighbour *d)
{
	if (!d->guest.disk)
		return;
	neighbours_met.poisoned += d->guest.disk->poisoned != 0;
	d->is_lost = d->guest.disk->poisoned || all->n_broken;
	d->is_unknown |= d->is_lost && d->job_runs;
}

static void neighbours_close(struct neighbours *all, struct neighbour *d)
{
	unsigned old = d->link, is;

	neighbours_run_until(all, d, false);
	neighbours_met.closed_beside += is_busy(all, NULL, true);
	neighbours_note_loss(all, d);
	bpull_disk_close(d->guest.disk);
	d->guest.disk = NULL;
	d->job_runs = false;
	is = sim_chain_link_of(&all->chain, all->sim, neighbour_names[d - all->disks]);
	neighbours_assert(all, is == old || is == d->target, "closed, and the link is %u", is);
	if (!d->is_unknown) /* else it may be either, and the files are its own still */
		d->link = is;
	drop(all, old, all->chain.n_files);
}

static void start(struct neighbours *all, struct neighbour *d)
{
	unsigned n = all->chain.n_files, target = n;
	struct bpull_job_options o = { .size = sizeof(o),
				       .guest_share = neighbours_below(all, 3) ? 100 : 0,
				       .bandwidth = neighbours_below(all, 2) * GiB,
				       .flags = neighbours_below(all, 3) ? 0 : BPULL_JOB_VERIFY };
	struct bpull_error error;

	if (all->chain.how.format == IMAGE_QCOW2 && d->link + 1 < n && neighbours_below(all, 2))
		target = d->link + 1 + (unsigned)neighbours_below(all, n - d->link - 1);
	if (target < n)
		o.base = all->chain.files[target].name;
	if (bpull_job_start(d->guest.disk, &o, &error)) {
		neighbours_assert(all, all->faults, "no job: %s", error.message);
		return;
	}
	d->target = target;
	d->job_runs = true;
}

static void request(struct neighbours *all, struct neighbour *d)
{
	static const enum sim_guest_kind kinds[] = { SIM_GUEST_READ,    SIM_GUEST_READ,
						     SIM_GUEST_READ,    SIM_GUEST_WRITE,
						     SIM_GUEST_WRITE,   SIM_GUEST_ZEROES,
						     SIM_GUEST_DISCARD, SIM_GUEST_FLUSH,
						     SIM_GUEST_STATUS };
	uint64_t disk_len = all->chain.guest_len;
	struct sim_guest_request r = { .kind = kinds[neighbours_below(all, ARRAY_LEN(kinds))] };

	if (d->guest.model.n_versions >= MODEL_MAX_VERSIONS)
		r.kind = SIM_GUEST_READ;
	r.len = 1 + neighbours_below(all, MIN(disk_len, UINT64_C(6) * all->chain.cluster_len));
	r.off = neighbours_below(all, disk_len - r.len + 1);
	r.cuts[0] = r.cuts[1] = neighbours_below(all, r.len + 1);
	r.value = r.kind == SIM_GUEST_WRITE ? 1 + (uint8_t)neighbours_below(all, 255) : 0;
	sim_guest_submit(&d->guest, &r);
}

void neighbours_live(struct neighbours *all, struct neighbour *d)
{
	if (!d->guest.disk) {
		if (!neighbours_below(all, 4) && !d->is_lost)
			neighbours_open(all, d);
		return;
	}
	if (d->guest.n_in_flight < 6 && neighbours_below(all, 4))
		request(all, d);
	switch (neighbours_below(all, 40)) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (!d->job_runs)
			start(all, d);
		break;
	case 4: bpull_job_abort(d->guest.disk); break;
	case 5: bpull_job_pause(d->guest.disk); break;
	case 6:
	case 7:
	case 8: bpull_job_resume(d->guest.disk); break;
	case 9: neighbours_close(all, d); break;
	case 10: bpull_disk_set_copy_on_read(d->guest.disk, (int)neighbours_below(all, 2)); break;
	case 11: bpull_engine_set_speed(all->engine, neighbours_below(all, 2) * GiB, 0); break;
	}
}
