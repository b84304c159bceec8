/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What convoys are told of their members. Each round looks at every job's state, so no place where
 * a job is paused, fails or ends has to know of convoys.
 */
#include "engine/copy/company_look.h"

#include "engine/copy/phases/shared_read.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/copy/walk/window.h"
#include "engine/core/convoy.h"
#include "engine/core/disk.h"
#include "engine/core/job.h"
#include "io/base.h"
#include "io/buf.h"

/* The job copies in the disk's order, as convoys do: in its first walk, after what the program
 * wants first. Later walks look at a little here and there, alone. */
static bool is_under_way(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	return job->step == JOB_COPYING && disk->walk->rounds.n == 1 &&
	       !walk_has_first(disk->walk) && job_goes_on(job);
}

static void tell_convoy(struct bpull_disk *disk)
{
	struct convoy_member *member = &disk->walk->company.member;

	member->place = company_place(disk);
	member->is_held = convoy_is_shared(member) && cursor_is_held(disk);
	member->is_ready = cursor_is_ready(disk);
	member->awaits_source = shared_read_awaits(disk->walk->runs.first);
}

static void look_at_disk(struct bpull_disk *disk)
{
	struct walk_company *company = &disk->walk->company;

	if (!company->member.convoy && company->waits && is_under_way(disk))
		company_join(disk);
	if (!company->member.convoy)
		return;
	if (is_under_way(disk)) {
		tell_convoy(disk);
		return;
	}
	company->waits = true;
	company_leave(disk);
}

uint64_t company_look(struct bpull_engine *engine, uint64_t now_ns)
{
	uint64_t at_ns;

	for (struct bpull_disk *disk = engine->disks; disk; disk = disk->next)
		look_at_disk(disk);
	/* No convoys: spares a round that only serves guests a look at the clock. */
	if (!engine->convoys.first && !engine->convoys.kept.n)
		return UINT64_MAX;
	at_ns = convoy_look(&engine->convoys, now_ns,
			    buf_n_free(engine->bufs) && !engine_guest_is_active(engine));
	for (struct bpull_disk *disk = engine->disks; disk; disk = disk->next)
		company_rejoin(disk);
	return at_ns;
}

bool company_was_left(const struct bpull_engine *engine)
{
	if (!engine->convoys.first)
		return false;
	for (const struct bpull_disk *disk = engine->disks; disk; disk = disk->next)
		if (convoy_is_shared(&disk->walk->company.member) && !is_under_way(disk))
			return true;
	return false;
}
