/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A play's machine fails, or is full, and what must hold then. */
#include <errno.h>
#include <string.h>

#include "tests/whole/plays/play.h"

void play_mend(struct play *p)
{
	sim_clear_faults(p->sim);
	sim_file_limit(p->sim, SIM_CHAIN_TOP, 0);
	if (p->chain->how.data_file)
		sim_file_limit(p->sim, p->chain->data.name, 0);
	p->n_broken = 0;
}

void play_break(struct play *p)
{
	static const enum sim_op ops[] = { SIM_READ,  SIM_READ,  SIM_WRITE,
					   SIM_WRITE, SIM_WRITE, SIM_SYNC };
	struct sim_fault fault = { .op = ops[play_below(p, ARRAY_LEN(ops))],
				   .nth = 1 + play_below(p, 12),
				   .error = play_below(p, 2) ? -EIO : -ENOSPC };

	/* Each on a file system of its own. */
	const char *full =
		p->chain->how.data_file && play_below(p, 2) ? p->chain->data.name : SIM_CHAIN_TOP;

	if (p->n_broken++ == SIM_MAX_FAULTS)
		play_mend(p);
	if (play_below(p, 2)) {
		sim_file_limit(p->sim, full, sim_file_len(p->sim, full) + play_below(p, 8) * 512);
		return;
	}
	if (p->space) {
		fault.op = SIM_WRITE;
		fault.error = -ENOSPC;
		fault.name = full;
		fault.forever = play_below(p, 2);
	}
	if (fault.op == SIM_READ)
		fault.error = -EIO;
	sim_fail(p->sim, &fault);
}

/* Nothing is written any more behind a failed barrier or table write (I7); and a write that failed
 * may have left anything of itself. So what is there must be what a power cut may leave. */
void play_judge_faults(struct play *p)
{
	bool must_be_marked;

	p->given_up = p->guest.disk->poisoned;
	play_met.poisoned += p->given_up;
	p->closed_with_job = p->job_runs;
	must_be_marked = play_sources_must_be_marked(p);
	bpull_engine_close(p->engine);
	if (must_be_marked)
		play_sources_judge_mark(p);
	play_judge_cut(p, &(struct sim_cut){ .mode = SIM_CUT_ALL_KEPT });
	play_judge_cut(p, &(struct sim_cut){ .mode = SIM_CUT_ALL_LOST });
}

/* A disk that was full goes on once there is room: nothing was written wrongly. A flush that meets
 * the commit which found none may say so once more. */
void play_use_the_room(struct play *p)
{
	uint64_t len = MIN(p->chain->guest_len, UINT64_C(3) * p->chain->cluster_len);
	struct sim_guest_request flush = { .kind = SIM_GUEST_FLUSH }, write = {
		.kind = SIM_GUEST_WRITE, .len = len, .cuts = { len / 3, len / 2 }, .value = 0x77
	};

	play_run_until(p, true);
	CHECK(p, !p->guest.disk->poisoned, "want of space has ended the disk: %s",
	      strerror(-p->guest.disk->poisoned));
	play_submit_and_wait(p, &flush);
	p->has_room = true;
	play_submit_and_wait(p, &flush);
	play_submit_and_wait(p, &write);
	play_submit_and_wait(p, &flush);
	if (p->grows)
		play_grow_at_last(p);
}
